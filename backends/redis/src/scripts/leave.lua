-- Turns the own registration into `gone` (or `going`, while copies under other hash tags are still to be struck).
--
-- KEYS: root, highest version, the registration. ARGV: identity, highest version seen, gone or going.
-- Reply: ok and the registration's version.
local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local stored = read('HMGET', KEYS[3], 's', 'v')
if failure then return failed() end
local state, version = stored[1], stored[2]
if state ~= 'live' and state ~= 'going' or state == ARGV[3] then return {'ok', version or NOTHING} end
version = version_after(high)
if failure then return failed() end
insist(KEYS[1])
write('SET', KEYS[2], version)
write('HSET', KEYS[3], 's', ARGV[3], 'v', version)
return failed() or {'ok', version}
