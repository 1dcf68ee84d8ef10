-- Create the stream with the marker of its creation, if it is missing, or empty
-- because a consumer created it first.
-- KEYS: stream.  ARGV: field and value of the marker.  Returns 1 if created.
if redis.call('XLEN', KEYS[1]) == 0 then
  redis.call('XADD', KEYS[1], '*', ARGV[1], ARGV[2])
  return 1
end
return 0
