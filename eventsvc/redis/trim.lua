-- Remove some of the oldest entries, but only beyond the length to keep, and only
-- those that every group has acknowledged.
-- KEYS: stream.  ARGV: length to keep, most to remove at once.
-- Returns how many were removed.
local excess = redis.call('XLEN', KEYS[1]) - tonumber(ARGV[1])
if excess <= 0 then return 0 end

local function before(a, b)
  local first, second = {string.match(a, '(%d+)-(%d+)')}, {string.match(b, '(%d+)-(%d+)')}
  for part = 1, 2 do
    local one, other = first[part], second[part]
    if #one ~= #other then return #one < #other end
    if one ~= other then return one < other end
  end
  return false
end

-- The bound: no entry from here on is removed.  A group has acknowledged all
-- before its first pending entry, or all it was delivered if none is pending.
local bound
for _, row in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  local about = {}
  for index = 1, #row, 2 do about[row[index]] = row[index + 1] end
  local own = about['last-delivered-id']
  local first = redis.call('XPENDING', KEYS[1], about.name)[2]
  if first and before(first, own) then own = first end
  if not bound or before(own, bound) then bound = own end
end
if not bound then return 0 end

-- Whole nodes first, because that reads no entries.
local most = math.min(excess, tonumber(ARGV[2]))
local removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', bound, 'LIMIT', most)
if removed > 0 then return removed end

-- The rest of the excess is within the first node, so it is small.
local count = 0
for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', math.min(most, 100))) do
  if not before(entry[1], bound) then break end
  count = count + 1
end
if count == 0 then return 0 end
return redis.call('XTRIM', KEYS[1], 'MAXLEN', '=', redis.call('XLEN', KEYS[1]) - count)
