-- Move a dead letter back to the end of the stream, with the fields it had.
-- KEYS: stream, dead letters.  ARGV: id of the letter.
-- Returns the id it has in the stream now, or why it was not moved: 'gone',
-- there is no such letter, or an earlier call has moved it; 'empty', its entry
-- was lost, fields and all; 'packed', it has more fields than a script may add.
local letter = redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1])[1]
if not letter then return 'gone' end
local fields = {}
for index = 1, #letter[2], 2 do
  if letter[2][index] == 'packed' then return 'packed' end
  local name = string.match(letter[2][index], '^field:(.*)$')
  if name then
    fields[#fields + 1] = name
    fields[#fields + 1] = letter[2][index + 1]
  end
end
if #fields == 0 then return 'empty' end
local refused = refusal('XADD', KEYS[1], 'NOMKSTREAM', '0-0', '', '') or refusal('XDEL', KEYS[2], '0-0')
if refused then return refused end
local id = redis.call('XADD', KEYS[1], '*', unpack(fields))
redis.call('XDEL', KEYS[2], ARGV[1])
return id
