-- Moves a lane to a generation.
--
-- KEYS: root, highest version, the sender's registration. ARGV: identity, highest version seen, lane, generation, last
-- acknowledged version of the lane. Reply: ok.
local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local lane, refused = admit(KEYS[3], ARGV[3], ARGV[4], ARGV[5])
-- The lane is further already: that is what was asked for.
if refused and refused[1] == 'stale' then return {'ok'} end
if refused then return refused end
if string.sub(lane, 1, 20) < ARGV[4] then
  insist(KEYS[1])
  write('HSET', KEYS[3], ARGV[3], ARGV[4] .. string.sub(lane, 21))
end
return failed() or {'ok'}
