-- Creates the root record, unless there is one.
--
-- KEYS: root, highest version. ARGV: the root record to create. Reply: ok and the root record.
local root = read('GET', KEYS[1])
local high = read('GET', KEYS[2])
if failure then return failed() end
if root then return {'ok', root} end
if high then return {'amnesia', 'the root record is missing, but other records of sixpin are there'} end
write('SET', KEYS[1], ARGV[1], 'NX')
return failed() or {'ok', ARGV[1]}
