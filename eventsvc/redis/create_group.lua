-- Create a group that begins with the first entry, and the stream if it is missing.
-- KEYS: stream.  ARGV: group.  Returns 1 if it was created, 0 if it exists.
-- A server whose memory is full refuses to create a group, and then its events
-- could never be read and trimmed.  It accepts commands that follow a write
-- which needs no memory: here an XACK of no entry.
redis.pcall('XACK', KEYS[1], ARGV[1], '0-1')
local reply = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if not reply.err then return 1 end
if string.find(reply.err, 'BUSYGROUP', 1, true) then return 0 end
return reply
