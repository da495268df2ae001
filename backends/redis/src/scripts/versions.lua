-- The versions of many records, without their bytes.
--
-- KEYS: root, highest version; then the records. ARGV: identity, highest version seen.
-- Reply: ok, the highest version, and the first 16 bytes of each record.
local high, refusal = remember(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
if refusal then return refusal end
local heads = {}
for i = 3, #KEYS do
  heads[i - 2] = read('GETRANGE', KEYS[i], 0, 15)
  if failure then return failed() end
end
return {'ok', high, heads}
