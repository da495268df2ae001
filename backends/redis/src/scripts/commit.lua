-- A batch of independent compare-and-swaps.
--
-- KEYS: root, highest version, the sender's registration, index of resources, index of sessions; then one per write.
-- ARGV: identity, highest version seen, lane, generation, last acknowledged version of the lane, channel of hints,
--       bytes of a record's key before its name; then per write: what to do (P put, D delete, C compare), the expected
--       version, the bell of its hint or nothing, its bytes or nothing.
-- Reply: ok, the version of this batch (or the highest one, if it changed nothing), the highest version; then per
--       write: 1 done, 2 nothing was there to delete, 0 conflict too large to tell, or what stands there as text.
local CONFLICT_BYTES_MAX = 4 * 1024 * 1024

local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local lane, refused = admit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])
if refused then return refused end
local base = tonumber(ARGV[7])

local results = {}
local puts, deletes = {}, {}
local told = 0
for i = 6, #KEYS do
  local at = 8 + (i - 6) * 4
  local standing = read('GETRANGE', KEYS[i], 0, 15)
  if failure then return failed() end
  if standing ~= '' and (#standing < 16 or string.find(standing, '%D')) then
    return {'refused', 'a record key holds something else'}
  end
  local present = standing ~= ''
  local result = 1
  if (present and standing or NOTHING) ~= ARGV[at + 1] then
    result = present and read('GET', KEYS[i]) or ''
    if failure then return failed() end
    told = told + #result
    if told > CONFLICT_BYTES_MAX then result = 0 end
  elseif ARGV[at] == 'P' then
    puts[#puts + 1] = {i, at, present}
  elseif ARGV[at] == 'D' then
    if present then deletes[#deletes + 1] = {i, at} else result = 2 end
  end
  results[i - 5] = result
end

local version = high
if #puts + #deletes > 0 then
  read('ZCARD', KEYS[4])
  read('ZCARD', KEYS[5])
  version = version_after(high)
  if failure then return failed() end

  local function index_of(i)
    local kind = string.sub(KEYS[i], base - 1, base - 1)
    return kind == 's' and KEYS[5] or KEYS[4], string.sub(KEYS[i], base + 1)
  end
  local bells = {}
  -- Deletes come first: a server that is out of memory refuses the first write of a script only if it needs memory, so
  -- that locks can still be released.
  for _, delete in ipairs(deletes) do
    local i, at = delete[1], delete[2]
    local index, name = index_of(i)
    write('DEL', KEYS[i])
    write('ZREM', index, name)
    if ARGV[at + 2] ~= '' then bells[#bells + 1] = ARGV[at + 2] end
  end
  write('SET', KEYS[2], version)
  write('HSET', KEYS[3], ARGV[3], string.sub(lane, 1, 21) .. version)
  for _, put in ipairs(puts) do
    local i, at, present = put[1], put[2], put[3]
    if not present then
      local index, name = index_of(i)
      write('ZADD', index, 0, name)
    end
    write('SET', KEYS[i], version .. ARGV[at + 3])
    if ARGV[at + 2] ~= '' then bells[#bells + 1] = ARGV[at + 2] end
  end
  if #bells > 0 then write('PUBLISH', ARGV[6], table.concat(bells, ' ')) end
  if failure then return failed() end
  high = version
end
return {'ok', version, high, results}
