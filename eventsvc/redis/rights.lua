-- Prepended to scripts that write more than once.
--
-- Note [Refused half way]
--
-- What a script wrote before it is refused stays, and the script is run again:
--
--     XADD -> written      SET -> NOPERM      (again)  XADD -> written twice
--
-- So each permission is checked before the first write.  Redis 6.2 has no call
-- for this, but checks permissions before arguments.  There the command is run
-- with arguments that make it do nothing; if it rejects them, its error begins
-- with ERR.  Because it is a write, this also shows whether writes are refused
-- at all, such as when memory is full.
-- Returns the error to answer with if the command would be refused, else false.
local function refusal(...)
  if redis.acl_check_cmd then
    return not redis.acl_check_cmd(...) and redis.error_reply('NOPERM this user may not run ' .. ({...})[1])
  end
  local reply = redis.pcall(...)
  local problem = type(reply) == 'table' and reply.err
  if not problem or string.sub(problem, 1, 4) == 'ERR ' then return false end
  problem = string.match(problem, '^%u%u+ .*') or string.match(problem, '%-(%u+ .*)') or 'NOPERM ' .. problem
  return redis.error_reply(problem)
end
