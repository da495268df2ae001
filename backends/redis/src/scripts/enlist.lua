-- Makes the copy of a registration that commits under another hash tag check. One that exists is left as it is.
--
-- KEYS: root, highest version, the copy. ARGV: identity, highest version seen. Reply: ok.
local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local state = read('HGET', KEYS[3], 's')
if failure then return failed() end
if state and state ~= 'live' then return {'evicted'} end
if not state then
  insist(KEYS[1])
  write('HSET', KEYS[3], 's', 'live')
end
return failed() or {'ok'}
