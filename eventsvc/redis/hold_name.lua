-- Claim the name of a consumer for a process, unless another process holds it.
-- KEYS: stream, owner of the name.  ARGV: token of the process, lifetime in ms.
-- Returns 0 if the process holds the name, else the ms that another still holds it.
local owner = redis.call('GET', KEYS[2])
if not owner then
  redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[2])
elseif owner == ARGV[1] then
  redis.call('PEXPIRE', KEYS[2], ARGV[2])
else
  return math.max(1, redis.call('PTTL', KEYS[2]))
end
return 0
