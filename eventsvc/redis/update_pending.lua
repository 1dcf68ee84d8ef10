-- Set the idle time or the deliveries of pending entries that are still ours.  A
-- plain XCLAIM would take back entries that another consumer has claimed since.
-- KEYS: stream.
-- ARGV: group, consumer, IDLE or RETRYCOUNT, its value; then for each entry its
-- id, and the digest of its fields: SHA-1 of the length, ':' and the bytes of each
-- name and value in turn; '-' if the entry was trimmed; '' if any will do.
-- Returns the ids no longer ours, and those whose fields have another digest:
-- after a failover, an id may have been given out again.
-- A trimmed entry is skipped, because XCLAIM would drop it without a record.
local function digest(fields)
  local parts = {}
  for _, part in ipairs(fields) do
    parts[#parts + 1] = #part .. ':'
    parts[#parts + 1] = part
  end
  return redis.sha1hex(table.concat(parts))
end

local others = {}
for index = 5, #ARGV, 2 do
  local id, expected = ARGV[index], ARGV[index + 1]
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  local found = redis.call('XRANGE', KEYS[1], id, id)[1]
  local is_ours = row and row[2] == ARGV[2]
  if is_ours and expected ~= '' then
    is_ours = expected == (found and digest(found[2]) or '-')
  end
  if not is_ours then
    others[#others + 1] = id
  elseif found then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, ARGV[3], ARGV[4], 'JUSTID')
  end
end
return others
