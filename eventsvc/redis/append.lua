-- Append a batch with a sequence at most once.
--
-- KEYS: stream, producer id; if the batch has idempotency keys, the hashes that
--   keep them.
-- ARGV: sequence, the sequence that must be kept, seconds a producer id is kept,
--   hard limit of the stream, field name, milliseconds a key is remembered, most
--   keys remembered, how many different keys there are, events of all batches up
--   to this one; then for each submission: how many entries, how many keys
--   (none, one for all of its entries, or one for each), if there are any, one
--   string with the digest of each and what to remember under it; the entries.
-- Returns the outcome; for each key that was known, the digest and its record, or
-- only the digest if there was no room; the id of the last entry, if one was
-- added, or else, if the batch was LOST or there already, the kept sequence and events.
--
-- All checks come before the first write: see the Note [Refused half way].
local call, stream, field, begin, digest_size = redis.call, KEYS[1], ARGV[5], 10, 16
local sequence = tonumber(ARGV[1])
local kept = call('GET', KEYS[2])
local last, outcome, events, passed = 0, nil, '0', {}
if kept then
  local mark, text, total = string.match(kept, '^(%d+) (%u+) (%d+)')
  last, outcome, events = tonumber(mark), text, total
end

if last == sequence then
  call('EXPIRE', KEYS[2], ARGV[3])
  local packed = string.sub(kept, #ARGV[1] + #outcome + #events + 4)
  if packed ~= '' then passed = cmsgpack.unpack(packed) end
  return {outcome == 'FULL' and 'FULL' or 'DUPLICATE', passed, last, events}
end
if last ~= tonumber(ARGV[2]) then
  return {'LOST', passed, last, events}
end

local full = call('XLEN', stream) >= tonumber(ARGV[4])
local refused = refusal('SET', KEYS[2], '', kept and 'NX' or 'XX')
  or refusal('XADD', stream, 'NOMKSTREAM', '0-0', field, '')
if refused then return refused end

-- Note [Idempotency keys]
--
-- Keys are kept in hashes.  Each hash is written to for one stretch of the window
-- and expires as a whole: that takes half of the memory of one record per key.
-- A hash lasts for the window and one stretch from its creation, so a key is
-- remembered at least for the window.  A key is looked up in all hashes,
-- whatever the time, because the clock may go back.
local known, new = {}, 0
local digests, pairs, last_of = {}, {}, {}
local hash, window, lifetime
if #KEYS > 2 then
  local at, number = begin, 0
  while at <= #ARGV do
    local count, keys = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
    if keys > 0 then
      at = at + 1
      local size = #ARGV[at + 1] / keys
      local form = 'c' .. digest_size .. 'c' .. size - digest_size
      for first = 0, keys - 1, 1000 do -- the most that one call may carry
        local some = math.min(1000, keys - first)
        local own = {struct.unpack(string.rep(form, some), ARGV[at + 1], first * size + 1)}
        for index = 1, 2 * some, 2 do
          number = number + 1
          digests[number], pairs[2 * number - 1], pairs[2 * number] = own[index], own[index], own[index + 1]
        end
      end
      last_of[#last_of + 1] = number
    end
    at = at + 2 + count
  end
  local room = tonumber(ARGV[7])
  for place = 3, #KEYS do
    local size = call('HLEN', KEYS[place])
    room = room - size
    for first = 1, size > 0 and #digests or 0, 1000 do
      local found = call('HMGET', KEYS[place], unpack(digests, first, math.min(first + 999, #digests)))
      for index = 1, #found do
        local digest = digests[first + index - 1]
        if found[index] and not known[digest] then
          known[digest] = true
          passed[#passed + 1] = digest .. found[index]
        end
      end
    end
  end
  if not full and #passed == 0 and #digests <= room then
    new = #digests
  elseif not full then
    local first = 1
    for _, last in ipairs(last_of) do
      local wanted = 0
      for index = first, last do
        if not known[digests[index]] then wanted = wanted + 1 end
      end
      if new + wanted <= room then
        new = new + wanted
      else
        for index = first, last do
          local digest = digests[index]
          if not known[digest] then
            known[digest] = true
            passed[#passed + 1] = digest
          end
        end
      end
      first = last + 1
    end
  end
end
if new > 0 then
  window = tonumber(ARGV[6])
  local stretch = math.ceil(window / (#KEYS - 4))
  lifetime = window + stretch
  local time = call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  hash = KEYS[3 + math.floor(now / stretch) % (#KEYS - 2)]
  if call('PTTL', hash) >= window then lifetime = nil end
  refused = refusal('HSET', hash, '', '', '') or refusal('PEXPIRE', hash, '')
  if refused then return refused end
end

-- Two submissions may bring the same event: the second finds it in `written`.
local as_it_is = new == tonumber(ARGV[8]) and new == #digests
local id, written, records = '', {}, as_it_is and pairs or {}
local at, key = begin, 0
while not full and at <= #ARGV do
  local count, keys = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local first = at + 1 + math.min(keys, 1)
  local is_first = keys == 1 and count > 1 and not written[pairs[2 * key + 1]]
  for index = 1, count do
    local entry = ARGV[first + index]
    if as_it_is or keys == 0 then
      id = call('XADD', stream, '*', field, entry)
    else
      local own = key + (keys == count and index or 1)
      local digest, record = pairs[2 * own - 1], pairs[2 * own]
      if not known[digest] and (not written[digest] or is_first) then
        id = call('XADD', stream, '*', field, entry)
        if not written[digest] then
          written[digest] = record
          records[#records + 1] = digest
          records[#records + 1] = record
        end
      elseif not known[digest] then
        known[digest] = true
        passed[#passed + 1] = digest .. written[digest]
      end
    end
  end
  at, key = first + 1 + count, key + keys
end
for first = 1, #records, 1000 do
  call('HSET', hash, unpack(records, first, math.min(first + 999, #records)))
end
if lifetime then call('PEXPIRE', hash, lifetime) end

outcome = full and 'FULL' or 'APPENDED'
local packed = #passed > 0 and cmsgpack.pack(passed) or ''
if not full then events = ARGV[9] end
call('SET', KEYS[2], ARGV[1] .. ' ' .. outcome .. ' ' .. events .. ' ' .. packed, 'EX', ARGV[3])
return {outcome, passed, id}
