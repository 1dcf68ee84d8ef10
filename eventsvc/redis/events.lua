-- Read a page of entries.  Each may have a megabyte, so a page is also bounded by its bytes.
-- KEYS: stream.
-- ARGV: 'XREVRANGE' for the newest first or 'XRANGE' for the oldest; first id, as for that command; entries after which to
-- end; bytes after which to end.
-- Returns entries.
local call = redis.call
local page, size, first = {}, 0, ARGV[2]
while #page < tonumber(ARGV[3]) and size < tonumber(ARGV[4]) do
  local some = math.min(tonumber(ARGV[3]) - #page, #page == 0 and 1 or 20)
  local found
  if ARGV[1] == 'XRANGE' then
    found = call('XRANGE', KEYS[1], first, '+', 'COUNT', some)
  else
    found = call('XREVRANGE', KEYS[1], first, '-', 'COUNT', some)
  end
  for _, entry in ipairs(found) do
    page[#page + 1] = entry
    for _, part in ipairs(entry[2]) do size = size + #part end
  end
  if #found < some then break end
  first = '(' .. found[#found][1]
end
return page
