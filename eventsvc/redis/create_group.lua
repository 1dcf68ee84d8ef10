-- Create a group that begins with the first entry, and the stream if need be.
-- KEYS: stream.  ARGV: group.  Returns 1 if it was created, 0 if it is there.
-- A server without memory left refuses to create a group, and then its events
-- could never be read and trimmed.  It does not refuse what follows a write
-- that needs no memory: one that acknowledges nothing.
redis.pcall('XACK', KEYS[1], ARGV[1], '0-1')
local reply = redis.pcall('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
if not reply.err then return 1 end
if string.find(reply.err, 'BUSYGROUP', 1, true) then return 0 end
return reply
