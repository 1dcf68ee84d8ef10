-- Check that the stream holds an entry.
-- KEYS: stream.  ARGV: id, field name, value.
-- Returns 1 if it does; 0 if it does not, or the user may not read the stream.
local found = redis.pcall('XRANGE', KEYS[1], ARGV[1], ARGV[1])
local fields = found[1] and found[1][2]
return fields and fields[1] == ARGV[2] and fields[2] == ARGV[3] and 1 or 0
