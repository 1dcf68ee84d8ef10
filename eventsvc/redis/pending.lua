-- List a consumer's pending entries without counting a delivery.
-- KEYS: stream.  ARGV: group, consumer, first id or bound, how many.
-- Returns id, deliveries so far and fields (false: trimmed) of each.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4], ARGV[2])
local entries = {}
for _, row in ipairs(pending) do
  local found = redis.call('XRANGE', KEYS[1], row[1], row[1])
  entries[#entries + 1] = {row[1], row[4], found[1] and found[1][2] or false}
end
return entries
