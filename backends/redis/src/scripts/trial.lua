-- Does once everything that the other scripts do, to keys that nobody else uses, so that a command which this user may
-- not run shows at start and not in the middle of a batch.
--
-- KEYS: a string, a hash, a sorted set, a set. ARGV: a channel. Reply: ok.
redis.call('TIME')
-- First, so that what follows can be cleaned up whatever fails.
for i = 1, 4 do write('DEL', KEYS[i]) end
read('GET', KEYS[1])
write('SET', KEYS[1], 'trial', 'NX')
write('SET', KEYS[1], 'trial')
write('MSET', KEYS[1], 'trial')
read('GETRANGE', KEYS[1], 0, 15)
read('MGET', KEYS[1])
read('EXISTS', KEYS[1])
write('HSET', KEYS[2], 's', 'trial')
read('HMGET', KEYS[2], 's', 'v')
read('HGET', KEYS[2], 's')
write('ZADD', KEYS[3], 0, 'trial')
read('ZCARD', KEYS[3])
write('ZREM', KEYS[3], 'trial')
write('SADD', KEYS[4], 'trial')
read('SCARD', KEYS[4])
write('SREM', KEYS[4], 'trial')
write('PERSIST', KEYS[2])
write('PEXPIRE', KEYS[2], 1000)
write('PUBLISH', ARGV[1], '')
if written then
  for i = 1, 4 do redis.pcall('DEL', KEYS[i]) end
end
return failed() or {'ok'}
