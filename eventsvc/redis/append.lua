-- Append a batch with a sequence at most once.
--
-- KEYS: stream, producer id; if the batch has idempotency keys, the hashes that
--   keep them.
-- ARGV: sequence, seconds a producer id is kept, hard limit of the stream, field name,
--   milliseconds a key is remembered, most keys remembered; then for each
--   submission: how many entries, how many keys (none, one for all of its
--   entries, or one for each), for each key its digest and what to remember
--   under it, the entries.
-- Returns the outcome.  For each key that was known it also returns the digest
-- and its record, or only the digest if there was no room.
--
-- All checks come before the first write: see the Note [Refused half way].
local sequence = tonumber(ARGV[1])
local kept = redis.call('GET', KEYS[2])
local last, outcome, passed = 0, nil, {}
if kept then
  local mark, text = string.match(kept, '^(%d+) (%u+)')
  last, outcome = tonumber(mark), text
end

if last == sequence then
  redis.call('EXPIRE', KEYS[2], ARGV[2])
  local packed = kept and string.sub(kept, #ARGV[1] + #outcome + 3) or ''
  if packed ~= '' then passed = cmsgpack.unpack(packed) end
  return {outcome == 'FULL' and 'FULL' or 'DUPLICATE', passed}
end
if last ~= sequence - 1 then
  return {'LOST', passed}
end

local full = redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[3])
local refused = refusal('SET', KEYS[2], '', kept and 'NX' or 'XX')
  or refusal('XADD', KEYS[1], 'NOMKSTREAM', '0-0', ARGV[4], '')
if refused then return refused end

-- Note [Idempotency keys]
--
-- Keys are kept in hashes.  Each hash is written to for one stretch of the window
-- and expires as a whole: that takes half of the memory of one record per key.
-- A hash lasts for the window and one stretch from its creation, so a key is
-- remembered at least for the window.  A key is looked up in all hashes,
-- whatever the time, because the clock may go back.
local known, new = {}, 0
local hash, window, lifetime
if #KEYS > 2 then
  local digests, submissions = {}, {}
  local at = 7
  while at <= #ARGV do
    local keys, own = tonumber(ARGV[at + 1]), {}
    for key = 1, keys do
      own[key] = ARGV[at + 2 * key]
      digests[#digests + 1] = own[key]
    end
    if keys > 0 then submissions[#submissions + 1] = own end
    at = at + 2 + 2 * keys + tonumber(ARGV[at])
  end
  local room = tonumber(ARGV[6])
  for place = 3, #KEYS do
    local size = redis.call('HLEN', KEYS[place])
    room = room - size
    for first = 1, size > 0 and #digests or 0, 1000 do -- the most that one call may carry
      local found = redis.call('HMGET', KEYS[place], unpack(digests, first, math.min(first + 999, #digests)))
      for index, record in ipairs(found) do
        local digest = digests[first + index - 1]
        if record and not known[digest] then
          known[digest] = true
          passed[#passed + 1] = digest .. record
        end
      end
    end
  end
  for _, own in ipairs(full and {} or submissions) do
    local wanted = 0
    for _, digest in ipairs(own) do
      if not known[digest] then wanted = wanted + 1 end
    end
    if new + wanted <= room then
      new = new + wanted
    else
      for _, digest in ipairs(own) do
        if not known[digest] then
          known[digest] = true
          passed[#passed + 1] = digest
        end
      end
    end
  end
end
if new > 0 then
  window = tonumber(ARGV[5])
  local stretch = math.ceil(window / (#KEYS - 4))
  lifetime = window + stretch
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  hash = KEYS[3 + math.floor(now / stretch) % (#KEYS - 2)]
  if redis.call('PTTL', hash) >= window then lifetime = nil end
  refused = refusal('HSET', hash, '', '', '') or refusal('PEXPIRE', hash, '')
  if refused then return refused end
end

-- Two submissions may bring the same event: the second finds it in `written`.
local written, records = {}, {}
local at = 7
while not full and at <= #ARGV do
  local count, keys = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local first = at + 1 + 2 * keys
  for index = 1, count do
    local own = keys == count and index or keys
    local digest = keys > 0 and ARGV[at + 2 * own]
    local record = digest and ARGV[at + 2 * own + 1]
    if not digest or not known[digest] and (not written[digest] or keys < count) then
      redis.call('XADD', KEYS[1], '*', ARGV[4], ARGV[first + index])
      if digest and not written[digest] then
        written[digest] = record
        records[#records + 1] = digest
        records[#records + 1] = record
      end
    elseif not known[digest] then
      known[digest] = true
      passed[#passed + 1] = digest .. written[digest]
    end
  end
  at = first + 1 + count
end
for first = 1, #records, 1000 do
  redis.call('HSET', hash, unpack(records, first, math.min(first + 999, #records)))
end
if lifetime then redis.call('PEXPIRE', hash, lifetime) end

outcome = full and 'FULL' or 'APPENDED'
local packed = #passed > 0 and cmsgpack.pack(passed) or ''
redis.call('SET', KEYS[2], ARGV[1] .. ' ' .. outcome .. ' ' .. packed, 'EX', ARGV[2])
return {outcome, passed}
