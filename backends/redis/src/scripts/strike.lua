-- Makes the copy of a registration under another hash tag `gone`, whether or not it exists, so that no late copy of the
-- registration can appear. After a day nothing can be on its way any more, and absent is as good as gone.
--
-- KEYS: root, highest version, the copy. ARGV: identity, highest version seen, milliseconds to keep it. Reply: ok.
local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
read('HGET', KEYS[3], 's')
insist(KEYS[1])
write('HSET', KEYS[3], 's', 'gone')
write('PEXPIRE', KEYS[3], ARGV[3])
return failed() or {'ok'}
