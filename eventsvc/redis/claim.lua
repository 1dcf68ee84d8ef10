-- Claim idle entries, without counting a delivery.
-- KEYS: stream, dead letters.
-- ARGV: group, consumer, idle in ms, cursor, how many, bytes after which to end.
-- Returns the next cursor; id, deliveries so far and fields of each; and the
-- ids that were pending but are gone from the stream.  Their loss is recorded
-- among the dead letters, because XAUTOCLAIM makes Redis forget them.  For the
-- same reason the ids are returned even if their loss cannot be recorded.
--
-- Note [Delivered in the future]
--
-- If the clock of Redis goes back, what was delivered before is idle only once
-- the clock has caught up.  An entry of a dead consumer would wait for as long:
--
--     clock of Redis:  12:00  deliver 7    11:00 ...                 12:00  12:01
--     consumer 1:             7, and dies
--     consumer 2:                          claims: 7 is idle for 0         claims 7
--
-- Redis says that such an entry is idle for 0 ms.  So whatever is idle for 0 ms
-- is marked as delivered now: that changes nothing where the clock is right.
local refused = refusal('XPENDING', KEYS[1], ARGV[1], '-', '-', 1) or refusal('XRANGE', KEYS[1], '-', '-')
  or refusal('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, '0-0', 'JUSTID')
if refused then return refused end
local cursor, entries, trimmed, size = ARGV[4], {}, {}, 0
for _ = 1, tonumber(ARGV[5]) do
  -- It looks at ten entries at most, and drops those of them that are gone.
  local claimed = redis.call('XAUTOCLAIM', KEYS[1], ARGV[1], ARGV[2], ARGV[3], cursor, 'COUNT', 1, 'JUSTID')
  local next = claimed[1] == '0-0' and '+' or '(' .. claimed[1]
  for _, row in ipairs(redis.call('XPENDING', KEYS[1], ARGV[1], cursor, next, 10)) do
    local id, owner, idle = row[1], row[2], row[3]
    if idle == 0 and owner ~= ARGV[2] then
      redis.call('XCLAIM', KEYS[1], ARGV[1], owner, 0, id, 'IDLE', 0, 'JUSTID')
    end
  end
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
