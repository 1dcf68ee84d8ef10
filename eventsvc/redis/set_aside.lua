-- Move a pending entry to the dead letters and acknowledge it.
-- KEYS: stream, dead letters.
-- ARGV: group, consumer, id, reason, error, deliveries.
-- Returns 0 if the entry is no longer pending with this consumer: an earlier call
-- has moved it, or another consumer has claimed it and may handle it.
local id = ARGV[3]
local row = redis.call('XPENDING', KEYS[1], ARGV[1], id, id, 1)[1]
if not row or row[2] ~= ARGV[2] then
  return 0
end
local letter = {'reason', ARGV[4], 'error', ARGV[5], 'deliveries', ARGV[6], 'group', ARGV[1], 'consumer', ARGV[2],
  'id', id}
local found = redis.call('XRANGE', KEYS[1], id, id)[1]
local fields = found and found[2] or {}
if #fields > 4000 then -- more than one call may carry
  letter[#letter + 1] = 'packed'
  letter[#letter + 1] = cmsgpack.pack(fields)
  fields = {}
end
for index, part in ipairs(fields) do
  letter[#letter + 1] = index % 2 == 1 and 'field:' .. part or part
end
local refused = refusal('XADD', KEYS[2], 'NOMKSTREAM', '0-0', '', '') or refusal('XACK', KEYS[1], ARGV[1], '0-0')
if refused then return refused end
redis.call('XADD', KEYS[2], '*', unpack(letter))
redis.call('XACK', KEYS[1], ARGV[1], id)
return 1
