-- Remove consumers that have nothing pending and were idle for long.
-- KEYS: stream.  ARGV: group, consumer (never removed), idle in ms.
local removed = {}
for _, row in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local about = {}
  for index = 1, #row, 2 do about[row[index]] = row[index + 1] end
  if about.name ~= ARGV[2] and about.pending == 0 and about.idle >= tonumber(ARGV[3]) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], about.name)
    removed[#removed + 1] = about.name
  end
end
return removed
