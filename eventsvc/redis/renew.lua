-- Check that a sequence is the last of its producer id, and extend the id's life if so.
-- KEYS: producer id, the hashes that keep idempotency keys.
-- ARGV: sequence, seconds a producer id is kept.
-- Returns 1 if it is the last or else 0, and how many keys are remembered.
-- It writes no sequence, because a check must not change what it checks.
local remembered = 0
for place = 2, #KEYS do
  remembered = remembered + redis.call('HLEN', KEYS[place])
end
local kept = redis.call('GET', KEYS[1])
if (kept and string.match(kept, '^%d+') or '0') ~= ARGV[1] then return {0, remembered} end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {1, remembered}
