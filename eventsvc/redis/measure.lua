-- Measure a stream and a group, as far as the user may.
-- KEYS: stream; dead letters, if they are to be counted.  ARGV: group, field of the marker.
-- Returns the length of the stream, the number of dead letters, of unread and of pending entries, the ages in ms of the
-- oldest unread and the oldest pending entry, and pairs of a command that was refused and the error.
-- What is not known is nil.
--
-- Note [Lag]
--
-- XINFO GROUPS has a lag, but it counts reads, and on Redis 7.0 the append-only file does not have all of them:
--
--     BGREWRITEAOF     XADD, XREADGROUP, XACK 4,000 -> lag 0     restart -> lag 4,000, and nothing is unread
--
-- So only ids are compared: what is behind the last delivered one is unread.
local refused = {}
local function ask(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then return reply end
  refused[#refused + 1] = command
  refused[#refused + 1] = reply.err
end

local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local function age(id)
  return id and math.max(1, now - tonumber(string.match(id, '^(%d+)'))) or 0
end

local groups = ask('XINFO', 'GROUPS', KEYS[1])
if not groups then return {false, false, false, false, false, false, refused} end
local last, is_there = '0-0', false  -- a group that is missing will begin with the first entry
for _, row in ipairs(groups) do
  local about = {}
  for index = 1, #row, 2 do about[row[index]] = row[index + 1] end
  if about.name == ARGV[1] then last, is_there = about['last-delivered-id'], true end
end

local function next_after(id)
  return ask('XRANGE', KEYS[1], '(' .. id, '+', 'COUNT', 1)
end
local length, unread, unread_age = ask('XLEN', KEYS[1]), nil, nil
local found, markers = next_after(last), 0
if found and found[1] and found[1][2][1] == ARGV[2] then  -- the marker waits for nobody
  found, markers = next_after(found[1][1]), 1
end
if found then
  local first = found[1] and found[1][1]
  unread_age = age(first)
  if not first then
    unread = 0
  elseif last == '0-0' and length then
    unread = length - markers
  end
end

local pending = is_there and ask('XPENDING', KEYS[1], ARGV[1]) or not is_there and {0}
return {
  length or false, KEYS[2] and ask('XLEN', KEYS[2]) or false, unread or false,
  pending and pending[1] or false, unread_age or false, pending and age(pending[2]) or false, refused
}
