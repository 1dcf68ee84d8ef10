-- Set the idle time or the deliveries of pending entries that are still ours.  A
-- plain XCLAIM would take back entries that another consumer has claimed since.
-- KEYS: stream.  ARGV: group, consumer, IDLE or RETRYCOUNT, its value, ids.
-- Returns the ids no longer ours.
-- A trimmed entry is skipped, because XCLAIM would drop it without a record.
local others = {}
for index = 5, #ARGV do
  local id = ARGV[index]
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  if row and row[2] == ARGV[2] then
    if redis.call('XRANGE', KEYS[1], id, id)[1] then
      redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, ARGV[3], ARGV[4], 'JUSTID')
    end
  else
    others[#others + 1] = id
  end
end
return others
