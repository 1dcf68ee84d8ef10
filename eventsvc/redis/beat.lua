-- Leave the heartbeat of a process, as far as the user may.
-- KEYS: stream; it only tells the slot.
-- ARGV: key of the heartbeats, id of the process, its record or '' if it ends,
-- milliseconds a record is kept, most records.
-- Returns nil; or the error, or 'too many' if there are too many processes.
--
-- The key is no key of the call, and is in the slot of one that is: so a user without rights on it
-- is refused inside of the script, where nothing is logged.
local key, id = ARGV[1], ARGV[2]
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)

local function problem(reply)
  return type(reply) == 'table' and reply.err
end

if ARGV[3] == '' then
  return problem(redis.pcall('HDEL', key, id)) or nil
end
local new = redis.pcall('HSET', key, id, string.format('%.0f ', now) .. ARGV[3])
if problem(new) then return new.err end
local kept = redis.pcall('PEXPIRE', key, ARGV[4])
if problem(kept) then return kept.err end
if new == 0 then return nil end

-- Records are removed when one is added: so they are never more than are alive, and those that ended lately.
local records = redis.pcall('HGETALL', key)
if problem(records) then return records.err end
local count = #records / 2
for index = 1, #records, 2 do
  local at = tonumber(string.match(records[index + 1], '^%d+')) or 0
  if math.abs(now - at) > tonumber(ARGV[4]) then
    redis.pcall('HDEL', key, records[index])
    count = count - 1
  end
end
if count > tonumber(ARGV[5]) then
  redis.pcall('HDEL', key, id)
  return 'too many'
end
return nil
