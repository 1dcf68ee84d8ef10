-- Read a hash that a user may be without rights on.
-- KEYS: stream; it only tells the slot.  ARGV: key of the hash.
-- Returns the time in milliseconds, and names and values in turn; or the time and an error.
local now = redis.call('TIME')
now = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
local records = redis.pcall('HGETALL', ARGV[1])
if type(records) == 'table' and records.err then return {now, records.err} end
return {now, records}
