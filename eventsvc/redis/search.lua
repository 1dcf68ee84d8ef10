-- Search a stretch of a stream for entries that contain a text, the newest first.
-- KEYS: stream.
-- ARGV: last id and first id, as for XREVRANGE; entries after which to end; bytes after which to end; hits after which
-- to end; texts, of which an entry contains one in a value.
-- Returns how many entries were looked at, the id of the last of them, and the entries that were found.
local ARGUMENTS = 5
local last, first = ARGV[1], ARGV[2]
local most, room, most_hits = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])

local size = 0
local function contains(fields)
  local found = false
  for number = 2, #fields, 2 do
    size = size + #fields[number]
    for index = ARGUMENTS + 1, #ARGV do
      found = found or string.find(fields[number], ARGV[index], 1, true)
    end
  end
  return found
end

local seen, id, found = 0, false, {}
local step = 1  -- entries may be large: no more are read at once than seem to fit
while seen < most and size < room and #found < most_hits do
  local page = redis.call('XREVRANGE', KEYS[1], last, first, 'COUNT', math.min(step, most - seen))
  if #page == 0 then break end
  for _, entry in ipairs(page) do
    seen, id = seen + 1, entry[1]
    if contains(entry[2]) then found[#found + 1] = entry end
    if #found == most_hits then break end
  end
  last = '(' .. id
  step = math.max(1, math.min(50, math.floor((room - size) / (size / seen + 1))))
end
return {seen, id, found}
