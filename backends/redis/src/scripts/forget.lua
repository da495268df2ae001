-- Forgets a registration that is `gone`, at exactly the version seen. What is left of it for a day refuses a late
-- registration of the same incarnation.
--
-- KEYS and ARGV as in evict, with the milliseconds to keep what is left in place of the last. Reply: ok.
local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local lane, refused = admit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])
if refused then return refused end
local stored = read('HMGET', KEYS[4], 's', 'v')
read('SCARD', KEYS[5])
if failure then return failed() end
local state, version = stored[1], stored[2]
if not state or state == 'past' then return {'differs', NOTHING} end
if state ~= 'gone' or version ~= ARGV[7] then return {'differs', version} end
insist(KEYS[1])
write('DEL', KEYS[4])
write('HSET', KEYS[4], 's', 'past')
write('PEXPIRE', KEYS[4], ARGV[8])
write('SREM', KEYS[5], ARGV[6])
return failed() or {'ok'}
