-- Turns another broker's registration, at exactly the version seen, into `gone` (or `going`, while copies under other
-- hash tags are still to be struck). One that is absent gets one that is gone, so that it can never register.
--
-- KEYS: root, highest version, the sender's registration, the target's registration, the set of brokers.
-- ARGV: identity, highest version seen, lane, generation, last acknowledged version of the lane, the target, the
--       version seen of it, gone or going. Reply: ok and the registration's version; and 1 if it was written.
local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local lane, refused = admit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])
if refused then return refused end
local stored = read('HMGET', KEYS[4], 's', 'v')
read('SCARD', KEYS[5])
if failure then return failed() end
local state, version = stored[1], stored[2]
if not state or state == 'past' then version = NOTHING end
if version ~= ARGV[7] then return {'differs', version} end
if state == 'gone' or state == ARGV[8] then return {'ok', version} end
version = version_after(high)
if failure then return failed() end
insist(KEYS[1])
write('SET', KEYS[2], version)
write('HSET', KEYS[4], 's', ARGV[8], 'v', version)
write('PERSIST', KEYS[4])
write('SADD', KEYS[5], ARGV[6])
write('HSET', KEYS[3], ARGV[3], string.sub(lane, 1, 21) .. version)
return failed() or {'ok', version, 1}
