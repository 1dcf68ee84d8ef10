-- Make entries of ours look idle for a year, so that others claim them at once.
-- KEYS: stream.  ARGV: group, consumer, ids.
-- XCLAIM drops a pending entry that was trimmed: only a claim may, which records it.
for index = 3, #ARGV do
  local id = ARGV[index]
  local row = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
  if row and row[2] == ARGV[2] and redis.call('XRANGE', KEYS[1], id, id)[1] then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, id, 'IDLE', 31536000000, 'JUSTID')
  end
end
return 0
