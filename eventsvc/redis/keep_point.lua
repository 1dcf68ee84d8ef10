-- Keep a point of the last hour, unless another dashboard has kept one of that moment.
-- KEYS: stream; it only tells the slot.
-- ARGV: key of the points, place in the hash, number of the moment, point, milliseconds until all are forgotten.
-- Returns nil, or the error.
local key, place = ARGV[1], ARGV[2]
local kept = redis.pcall('HGET', key, place)
if type(kept) == 'table' and kept.err then return kept.err end
if kept and string.match(kept, '^%d+') == ARGV[3] then return nil end
for _, reply in ipairs({
  redis.pcall('HSET', key, place, ARGV[3] .. ' ' .. ARGV[4]), redis.pcall('PEXPIRE', key, ARGV[5])
}) do
  if type(reply) == 'table' and reply.err then return reply.err end
end
return nil
