-- Ask whether a number is the last of its lane, and keep the lane if so.
-- KEYS: lane.  ARGV: number, seconds a lane is kept.  Returns 1 if it is the last.
-- It writes no number: what asks must not bring about what it asks for.
local lane = redis.call('GET', KEYS[1])
if (lane and string.match(lane, '^%d+') or '0') ~= ARGV[1] then return 0 end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
