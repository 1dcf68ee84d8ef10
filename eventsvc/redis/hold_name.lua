-- Say that a process has the name of a consumer, unless another has said so.
-- KEYS: stream, owner of the name.  ARGV: token of the process, lifetime in ms.
-- Returns 1 if the process has the name, 0 if another has it.
local owner = redis.call('GET', KEYS[2])
if not owner then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
elseif owner == ARGV[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
else
  return 0
end
return 1
