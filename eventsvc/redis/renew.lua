-- Ask whether a number is the last of its lane, and keep the lane if so.
-- KEYS: lane, the hashes that keep idempotency keys.
-- ARGV: number, seconds a lane is kept.
-- Returns 1 if it is the last or else 0, and how many keys are remembered.
-- It writes no number: what asks must not bring about what it asks for.
local remembered = 0
for place = 2, #KEYS do
  remembered = remembered + redis.call('HLEN', KEYS[place])
end
local lane = redis.call('GET', KEYS[1])
if (lane and string.match(lane, '^%d+') or '0') ~= ARGV[1] then return {0, remembered} end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return {1, remembered}
