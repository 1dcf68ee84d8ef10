-- Put in front of scripts that write more than once.
--
-- Note [Refused half way]
--
-- A script that is refused half way keeps what it wrote, and is run again:
--
--     XADD -> written      SET -> NOPERM      (again)  XADD -> written twice
--
-- So each right is asked for before the first write.  Redis 6.2 cannot be
-- asked, but looks at the rights before it looks at the arguments: there the
-- command is run, and the caller gives arguments with which it does nothing:
-- what the command itself finds wrong with them begins with ERR.  Being a
-- write, it also finds out whether writes are refused at all, as out of memory.
-- Returns what to answer if the command would be refused.
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
