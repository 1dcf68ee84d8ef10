-- Read the heartbeats of all processes.
-- KEYS: stream; it only tells the slot.  ARGV: key of the heartbeats.
-- Returns the time in milliseconds, and ids and records in turn; or the time and an error.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local records = redis.pcall('HGETALL', ARGV[1])
if type(records) == 'table' and records.err then return {now, records.err} end
return {now, records}
