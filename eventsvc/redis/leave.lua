-- Remove a consumer from its group, unless it has pending entries, which Redis
-- would forget, or another process holds its name.
-- KEYS: stream, owner of the name.  ARGV: group, consumer, token of the process.
-- Returns 1 if it was removed.  The name is free then.
local owner = redis.call('GET', KEYS[2])
if owner and owner ~= ARGV[3] then return 0 end
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[2], 1)
return 1
