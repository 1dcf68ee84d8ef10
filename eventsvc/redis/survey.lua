-- Look at a stream, its groups and the server, as far as the user may.
-- KEYS: stream.  ARGV: dead letters, most groups, most consumers of all groups.
-- Returns the time in milliseconds; the length of the stream; the number of dead letters, of groups; for each group its
-- name, the last id it was given, how many consumers it has and, unless it was refused, their names, pending entries and idle times in
-- milliseconds; the reply to INFO; and for each command that was refused its name, the key and the error.  What is not known is nil.
local refused = {}
local function ask(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  refused[#refused + 1] = command
  refused[#refused + 1] = command == 'XLEN' and ... or KEYS[1]
  refused[#refused + 1] = reply.err
end

local function named(row)
  local about = {}
  for index = 1, #row, 2 do about[row[index]] = row[index + 1] end
  return about
end

local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local found, left = {}, tonumber(ARGV[3])
local groups = ask('XINFO', 'GROUPS', KEYS[1])
for index = 1, math.min(groups and #groups or 0, tonumber(ARGV[2])) do
  local group = named(groups[index])
  local consumers = left > 0 and ask('XINFO', 'CONSUMERS', KEYS[1], group.name)
  local rows = consumers and {} or false
  for number = 1, math.min(consumers and #consumers or 0, left) do
    local consumer = named(consumers[number])
    rows[number] = {consumer.name, consumer.pending, consumer.idle}
  end
  left = left - (rows and #rows or 0)
  found[index] = {group.name, group['last-delivered-id'], group.consumers, rows}
end
return {
  now, ask('XLEN', KEYS[1]) or false, ask('XLEN', ARGV[1]) or false, groups and #groups or false, found,
  ask('INFO') or false, refused
}
