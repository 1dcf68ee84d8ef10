-- Claim idle entries, without counting a delivery.
-- KEYS: stream, dead letters.
-- ARGV: group, consumer, idle in ms, cursor, how many, bytes after which to end.
-- Returns the next cursor; id, deliveries so far and fields of each; and the
-- ids that were pending but are gone from the stream.  Their loss is recorded
-- among the dead letters, because XAUTOCLAIM makes Redis forget them.  For the
-- same reason the ids are returned even if their loss cannot be recorded.
local refused = refusal('XPENDING', KEYS[1], ARGV[1], '-', '-', 1) or refusal('XRANGE', KEYS[1], '-', '-')
if refused then return refused end
local cursor, entries, trimmed, size = ARGV[4], {}, {}, 0
for _ = 1, tonumber(ARGV[5]) do
  local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', 1, 'JUSTID')
  cursor = claimed[1]
  for _, id in ipairs(claimed[2]) do
    local row = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
    local found = redis.call('XRANGE', KEYS[1], id, id)[1]
    entries[#entries + 1] = {id, row and row[4] or 1, found and found[2] or false}
    for _, part in ipairs(found and found[2] or {}) do size = size + #part end
  end
  for _, id in ipairs(claimed[3] or {}) do
    trimmed[#trimmed + 1] = id
    redis.pcall('XADD', KEYS[2], '*', 'reason', 'trimmed', 'error', 'the entry was trimmed while it was pending',
      'deliveries', '0', 'group', ARGV[1], 'consumer', ARGV[2], 'id', id)
  end
  if cursor == '0-0' or size >= tonumber(ARGV[6]) then break end
end
return {cursor, entries, trimmed}
