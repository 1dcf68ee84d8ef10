-- Check that a sequence is the last of its producer id, and extend the id's life if so.
-- KEYS: producer id, the hashes that keep idempotency keys.
-- ARGV: sequence, seconds a producer id is kept.
-- Returns 1 if it is the last or else 0, how many keys are remembered, the kept
-- sequence, and the events of all batches up to that.
-- It writes no sequence, because a check must not change what it checks.
local remembered = 0
for place = 2, #KEYS do
  remembered = remembered + redis.call('HLEN', KEYS[place])
end
local last, events = string.match(redis.call('GET', KEYS[1]) or '0 NONE 0', '^(%d+) %u+ (%d+)')
if last ~= ARGV[1] then return {0, remembered, last, events} end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {1, remembered, last, events}
