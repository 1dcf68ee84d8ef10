-- Read a page of dead letters, the oldest first.  Each may hold megabytes, so a
-- page is also bounded by its bytes.
-- KEYS: dead letters.
-- ARGV: first id, as for XRANGE; last id; letters after which to end; bytes after
-- which to end; 'ids' to return only ids.
-- Returns letters, or ids.
local page, size, first = {}, 0, ARGV[1]
while #page < tonumber(ARGV[3]) and size < tonumber(ARGV[4]) do
  local letter = redis.call('XRANGE', KEYS[1], first, ARGV[2], 'COUNT', 1)[1]
  if not letter then break end
  first = '(' .. letter[1]
  if ARGV[5] == 'ids' then
    page[#page + 1] = letter[1]
  else
    page[#page + 1] = letter
    for _, part in ipairs(letter[2]) do size = size + #part end
  end
end
return page
