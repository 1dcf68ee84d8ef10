-- Ask which commands the user may run.
-- KEYS: stream.
-- ARGV: for each command, the number of its words and the words; {key} stands for the key and {companion} for the
-- beginning of keys in its slot.
-- Returns 1 or 0 for each command; nil if the server, Redis 6.2, cannot tell.
if not redis.acl_check_cmd then return nil end
local found, index = {}, 1
while index <= #ARGV do
  local words = {}
  for number = 1, tonumber(ARGV[index]) do
    local word = ARGV[index + number]
    if word == '{key}' then word = KEYS[1] end
    words[number] = string.gsub(word, '^{companion}', function() return '{' .. KEYS[1] .. '}' end)
  end
  index = index + #words + 1
  local known, may = pcall(redis.acl_check_cmd, unpack(words))
  found[#found + 1] = known and may and 1 or 0
end
return found
