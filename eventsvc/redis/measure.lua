-- Measure a stream and a group.
-- KEYS: stream, dead letters.  ARGV: group.
-- Returns the lengths of both, how many entries are pending, and the ages in
-- ms of the oldest entry not delivered and of the oldest not acknowledged.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local function age(id)
  return id and math.max(0, now - tonumber(string.match(id, '^(%d+)'))) or 0
end
local unread = 0
for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = {}
  for index = 1, #row, 2 do about[row[index]] = row[index + 1] end
  if about.name == ARGV[1] then
    local first = redis.call('XRANGE', KEYS[1], '(' .. about['last-delivered-id'], '+', 'COUNT', 1)[1]
    unread = age(first and first[1])
  end
end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1])
return {redis.call('XLEN', KEYS[1]), redis.call('XLEN', KEYS[2]), pending[1], unread, age(pending[2])}
