-- A batch of independent compare-and-swaps.
--
-- KEYS: root, highest version, the sender's registration, index of resources, index of sessions; then one per write.
-- ARGV: identity, highest version seen, lane, generation, last acknowledged version of the lane, channel of hints,
--       bytes of a record's key before its name, whether records are likely to be long, the bells of the hints, and what
--       to do: for each write one letter (P put, D delete, C compare) and the expected version; then the bytes of each put.
-- Reply: ok, the version of this batch (or the highest one, if it changed nothing), the highest version, whether the
--       lane notes that version; then the place and the result of each write that was not simply done: 2 nothing was there to
--       delete, 3 no room for it, 0 conflict too large to tell, or what stands there as text.
--
-- A command costs more than what it does to one key, so each is called once for all keys where that is possible. An argument
-- and a part of the answer cost as much as the work on one key, so there is one of each where that is possible.
local CONFLICT_BYTES_MAX = 4 * 1024 * 1024
local SESSION, PUT, DELETE = string.byte('s'), string.byte('P'), string.byte('D')
local FIRST_KEY, FIRST_BYTES, SPEC = 6, 11, 17
local sub, byte = string.sub, string.byte

local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local lane, refused = admit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])
if refused then return refused end
local base, long, bells, spec = tonumber(ARGV[7]), ARGV[8] == 'long', ARGV[9], ARGV[10]
local count = #KEYS - FIRST_KEY + 1
if #spec ~= count * SPEC then return {'refused', 'what to do is not told of every key'} end

-- What stands there, or false. Long records are not read before one has to be told.
local standing
if long then
  standing = {}
  for i = 1, count do
    local first = read('GETRANGE', KEYS[FIRST_KEY + i - 1], 0, 15)
    standing[i] = first ~= '' and first
  end
else
  standing = read('MGET', unpack(KEYS, FIRST_KEY))
end
if failure then return failed() end

-- Whether a version is expected that was made up for what somebody else put there.
local function as_foreign(expected, stands)
  return expected == FOREIGN and stands and (#stands < 16 or string.find(sub(stands, 1, 16), '%D'))
end

-- Places of puts, and which argument has the bytes of each; keys of deletes and creates; whether the index may not know of a
-- place. Results that are not 1, each after its place.
local results, puts, bytes, deletes, creates, unknown = {}, {}, {}, {}, {}, {}
local told, next_bytes = 0, FIRST_BYTES
local function note(i, result)
  results[#results + 1] = i
  results[#results + 1] = result
end
for i = 1, count do
  local stands, at = standing[i], (i - 1) * SPEC
  local verb, expected = byte(spec, at + 1), sub(spec, at + 2, at + SPEC)
  local version = stands and sub(stands, 1, 16) or NOTHING
  if version ~= expected and not as_foreign(expected, stands) then
    if stands and long then
      stands = read('GET', KEYS[FIRST_KEY + i - 1])
      if failure then return failed() end
    end
    stands = stands or ''
    told = told + #stands
    note(i, told > CONFLICT_BYTES_MAX and 0 or stands)
  elseif verb == PUT then
    puts[#puts + 1] = i
    bytes[i] = next_bytes
    unknown[i] = not stands or version ~= expected
    if not stands then creates[#creates + 1] = KEYS[FIRST_KEY + i - 1] end
  elseif verb == DELETE then
    if stands then deletes[#deletes + 1] = KEYS[FIRST_KEY + i - 1] else note(i, 2) end
  end
  if verb == PUT then next_bytes = next_bytes + 1 end
end
if next_bytes ~= #ARGV + 1 then return {'refused', 'the bytes are not those of the puts'} end

local version = high
if #puts + #deletes > 0 then
  read('ZCARD', KEYS[4])
  read('ZCARD', KEYS[5])
  if #creates > 0 and read('EXISTS', unpack(creates)) ~= 0 then
    failure = failure or 'a record key holds something else'
  end
  version = version_after(high)
  if failure then return failed() end

  -- The first write shows whether the server is out of memory. If it is, records that grow are refused, and everything
  -- that lets go of something is done. Marks of sessions are done too: they are short, and without them a session is
  -- lost with its broker.
  local first = redis.pcall('SET', KEYS[2], version)
  if type(first) == 'table' and first.err then
    if not string.find(first.err, 'OOM', 1, true) then return {'refused', first.err} end
    local function grows(i)
      local key, length = KEYS[FIRST_KEY + i - 1], 16 + #ARGV[bytes[i]]
      if byte(key, base - 1) == SESSION then return false end
      if not standing[i] then return true end
      if not long then return length > #standing[i] end
      return read('GETRANGE', key, length - 1, length - 1) == ''
    end
    local fit = {}
    for _, i in ipairs(puts) do
      if grows(i) then note(i, 3) else fit[#fit + 1] = i end
    end
    puts = fit
    if #puts + #deletes == 0 then return failed() or {'ok', high, high, 0, results} end
    insist(KEYS[1])
    write('SET', KEYS[2], version)
    if failure then return failed() end
  end
  written = true

  -- The names of these keys, for the index of resources and for that of sessions; each after a score if there is one.
  local function indexed(keys, score)
    local resources, sessions = {}, {}
    for _, key in ipairs(keys) do
      local names = byte(key, base - 1) == SESSION and sessions or resources
      if score then names[#names + 1] = score end
      names[#names + 1] = sub(key, base + 1)
    end
    return resources, sessions
  end
  local function write_index(command, keys, score)
    local resources, sessions = indexed(keys, score)
    if #resources > 0 then write(command, KEYS[4], unpack(resources)) end
    if #sessions > 0 then write(command, KEYS[5], unpack(sessions)) end
  end

  if #deletes > 0 then
    write('DEL', unpack(deletes))
    write_index('ZREM', deletes)
  end
  write('HSET', KEYS[3], ARGV[3], sub(lane, 1, 21) .. version)
  if #puts > 0 then
    local records, new = {}, {}
    for _, i in ipairs(puts) do
      local key = KEYS[FIRST_KEY + i - 1]
      records[#records + 1] = key
      records[#records + 1] = version .. ARGV[bytes[i]]
      if unknown[i] then new[#new + 1] = key end
    end
    if #new > 0 then write_index('ZADD', new, '0') end
    write('MSET', unpack(records))
  end

  if bells ~= '' then write('PUBLISH', ARGV[6], bells) end
  if failure then return failed() end
  high = version
elseif sub(lane, 22) < high then
  -- What was found true is told to clients: should it be lost, the lane's note of it is lost with it.
  insist(KEYS[1])
  write('HSET', KEYS[3], ARGV[3], sub(lane, 1, 21) .. high)
  if failure then return failed() end
end
return {'ok', version, high, 1, results}
