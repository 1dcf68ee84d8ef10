-- Take over entries that were left idle, without counting a delivery.
-- KEYS: stream, dead letters.  ARGV: group, consumer, idle in ms, cursor, how many.
-- Returns the next cursor; id, deliveries so far and fields of each; and the
-- ids that were pending but are gone from the stream: their loss is recorded
-- among the dead letters, since Redis itself forgets them here.
local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], 'COUNT', ARGV[5], 'JUSTID')
local entries, trimmed = {}, claimed[3] or {}
for _, id in ipairs(claimed[2]) do
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  local found = redis.call('XRANGE', KEYS[1], id, id)
  entries[#entries + 1] = {id, row and row[4] or 1, found[1] and found[1][2] or false}
end
for _, id in ipairs(trimmed) do
  redis.call('XADD', KEYS[2], '*', 'reason', 'trimmed', 'error', 'the entry was trimmed while it was pending',
    'deliveries', '0', 'group', ARGV[1], 'consumer', ARGV[2], 'id', id)
end
return {claimed[1], entries, trimmed}
