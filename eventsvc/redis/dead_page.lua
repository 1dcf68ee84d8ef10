-- Read dead letters, the oldest first, until there are enough: each may hold
-- megabytes, so a page is bounded by its bytes too.
-- KEYS: dead letters.
-- ARGV: where to begin, as for XRANGE; the last id; how many letters are
-- enough; how many bytes are enough; 'ids', if nothing but the ids is wanted.
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
