-- Append a numbered batch at most once.
--
-- KEYS: stream, lane, then the record of each idempotency key in the batch.
-- ARGV: number, seconds a lane is kept, hard limit of the stream, seconds a
--   key is remembered, field name; then for each submission: how many entries,
--   its place in KEYS (0: no idempotency key), its record, its entries.
-- Returns the outcome, and the record of each key that was in use before.
--
-- All checks come before the first write, and the first write is an XADD: when
-- memory is out it is refused, and the whole call with it.
local number = tonumber(ARGV[1])
local lane = redis.call('GET', KEYS[2])
local last, outcome, earlier = 0, nil, {}
if lane then
  local mark, text = string.match(lane, '^(%d+) (%u+)')
  last, outcome = tonumber(mark), text
end

if last == number then
  redis.call('EXPIRE', KEYS[2], ARGV[2])
  local packed = lane and string.sub(lane, #ARGV[1] + #outcome + 3) or ''
  if packed ~= '' then earlier = cmsgpack.unpack(packed) end
  return {outcome == 'FULL' and 'FULL' or 'DUPLICATE', earlier}
end
if last ~= number - 1 then
  return {'LOST', earlier}
end

local full = redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3])
local known = {}
for place = 3, #KEYS do
  local record = redis.call('GET', KEYS[place])
  if record then
    known[place] = true
    earlier[#earlier + 1] = record
  end
end

local at = 6
while not full and at <= #ARGV do
  local count, place, record = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), ARGV[at + 2]
  if not known[place] then
    for index = at + 3, at + 2 + count do
      redis.call('XADD', KEYS[1], '*', ARGV[5], ARGV[index])
    end
    if place > 0 then
      redis.call('SET', KEYS[place], record, 'EX', ARGV[4])
    end
  end
  at = at + 3 + count
end

outcome = full and 'FULL' or 'APPENDED'
local packed = #earlier > 0 and cmsgpack.pack(earlier) or ''
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. outcome .. ' ' .. packed, 'EX', ARGV[2])
return {outcome, earlier}
