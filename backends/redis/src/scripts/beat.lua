-- Registers or renews.
--
-- KEYS: root, highest version, the registration, the set of brokers. ARGV: identity, highest version seen, incarnation,
-- beat number, expected version, what others should know; then names of lanes, each with the last version that was
-- acknowledged of it. Reply: ok and the registration's version.
local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local registers = ARGV[4] == '0' and ARGV[5] == NOTHING
local stored = read('HMGET', KEYS[3], 's', 'v', 'n')
read('SCARD', KEYS[4])
for i = 7, #ARGV, 2 do
  local lane = read('HGET', KEYS[3], ARGV[i]) or ''
  if stored and stored[1] == 'live' and string.sub(lane, 22) < ARGV[i + 1] then
    return failed() or {'amnesia', 'an acknowledged write of this broker is gone'}
  end
end
if failure then return failed() end
local state, version, number = stored[1], stored[2], stored[3]
if state then
  if state ~= 'live' then return {'evicted'} end
  -- A repeat: the first copy arrived, its answer did not.
  if number == ARGV[4] then return {'ok', version} end
  if registers then return {'evicted'} end
  -- Only a version that the sender has been told can have been lost.
  if version < ARGV[5] and ARGV[5] <= ARGV[2] then return {'amnesia', 'the version of the registration fell'} end
  if version ~= ARGV[5] then return {'differs', version} end
elseif not registers then
  return {'evicted'}
end
version = version_after(high)
if failure then return failed() end
-- A few bytes of each broker, and wanted most of all when the server is full.
insist(KEYS[1])
write('SET', KEYS[2], version)
write('HSET', KEYS[3], 's', 'live', 'v', version, 'n', ARGV[4], 'i', ARGV[6])
write('SADD', KEYS[4], ARGV[3])
return failed() or {'ok', version}
