-- Read a consumer's pending entries again, without counting a delivery.
-- KEYS: stream.
-- ARGV: group, consumer, first id or bound, how many, bytes after which to end.
-- Returns id, deliveries so far and fields (false: trimmed) of each.
-- Their idle time is reset, so that no other consumer claims them.  A trimmed
-- entry is skipped, because XCLAIM would drop it.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], '+', ARGV[4], ARGV[2])
local entries, size = {}, 0
for _, row in ipairs(pending) do
  local found = redis.call('XRANGE', KEYS[1], row[1], row[1])[1]
  if found then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, row[1], 'IDLE', 0, 'JUSTID')
    for _, part in ipairs(found[2]) do size = size + #part end
  end
  entries[#entries + 1] = {row[1], row[4], found and found[2] or false}
  if size >= tonumber(ARGV[5]) then break end
end
return entries
