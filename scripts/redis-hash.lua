-- A batch of compare-and-swaps where all records of a tag are fields of one hash. Not part of the product: `redis-hash` measures
-- it beside `backends/redis/src/scripts/commit.lua`, whose checks, promises and replies it has. It goes after the same prelude.
--
-- KEYS: root, highest version, the sender's registration, the hash. ARGV: identity, highest version seen, lane, generation, last
-- acknowledged version of the lane, channel of hints, the bells of the hints, what to do, the field of each write (`r:` or `s:`
-- and the name), and the bytes of each put.
--
-- What differs: no index is written, because fields can be listed; nothing else can stand at a field, because all fields are
-- strings; and a record is always read whole, because no command reads a part of a field.
local CONFLICT_BYTES_MAX = 4 * 1024 * 1024
local SESSION, PUT, DELETE = string.byte('s'), string.byte('P'), string.byte('D')
local BEFORE_FIELDS, SPEC = 8, 17
local sub, byte = string.sub, string.byte

local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local lane, refused = admit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])
if refused then return refused end
local bells, spec = ARGV[7], ARGV[8]
local count = #spec / SPEC
if count < 1 or count % 1 ~= 0 or #ARGV < BEFORE_FIELDS + count then
  return {'refused', 'what to do is not told of every field'}
end

local standing = read('HMGET', KEYS[4], unpack(ARGV, BEFORE_FIELDS + 1, BEFORE_FIELDS + count))
if failure then return failed() end

local function as_foreign(expected, stands)
  return expected == FOREIGN and stands and (#stands < 16 or string.find(sub(stands, 1, 16), '%D'))
end

local results, puts, bytes, deletes = {}, {}, {}, {}
local told, next_bytes = 0, BEFORE_FIELDS + count + 1
local function note(i, result)
  results[#results + 1] = i
  results[#results + 1] = result
end
for i = 1, count do
  local stands, at = standing[i], (i - 1) * SPEC
  local verb, expected = byte(spec, at + 1), sub(spec, at + 2, at + SPEC)
  local version = stands and sub(stands, 1, 16) or NOTHING
  if version ~= expected and not as_foreign(expected, stands) then
    stands = stands or ''
    told = told + #stands
    note(i, told > CONFLICT_BYTES_MAX and 0 or stands)
  elseif verb == PUT then
    puts[#puts + 1] = i
    bytes[i] = next_bytes
  elseif verb == DELETE then
    if stands then deletes[#deletes + 1] = ARGV[BEFORE_FIELDS + i] else note(i, 2) end
  end
  if verb == PUT then next_bytes = next_bytes + 1 end
end
if next_bytes ~= #ARGV + 1 then return {'refused', 'the bytes are not those of the puts'} end

local version = high
if #puts + #deletes > 0 then
  version = version_after(high)
  if failure then return failed() end
  local first = redis.pcall('SET', KEYS[2], version)
  if type(first) == 'table' and first.err then
    if not string.find(first.err, 'OOM', 1, true) then return {'refused', first.err} end
    local fit = {}
    for _, i in ipairs(puts) do
      local mark = byte(ARGV[BEFORE_FIELDS + i]) == SESSION
      if mark or standing[i] and 16 + #ARGV[bytes[i]] <= #standing[i] then fit[#fit + 1] = i else note(i, 3) end
    end
    puts = fit
    if #puts + #deletes == 0 then return failed() or {'ok', high, high, 0, results} end
    insist(KEYS[1])
    write('SET', KEYS[2], version)
    if failure then return failed() end
  end
  written = true

  if #deletes > 0 then write('HDEL', KEYS[4], unpack(deletes)) end
  write('HSET', KEYS[3], ARGV[3], sub(lane, 1, 21) .. version)
  if #puts > 0 then
    local records = {}
    for _, i in ipairs(puts) do
      records[#records + 1] = ARGV[BEFORE_FIELDS + i]
      records[#records + 1] = version .. ARGV[bytes[i]]
    end
    write('HSET', KEYS[4], unpack(records))
  end
  if bells ~= '' then write('PUBLISH', ARGV[6], bells) end
  if failure then return failed() end
  high = version
elseif sub(lane, 22) < high then
  insist(KEYS[1])
  write('HSET', KEYS[3], ARGV[3], sub(lane, 1, 21) .. high)
  if failure then return failed() end
end
return {'ok', version, high, 1, results}
