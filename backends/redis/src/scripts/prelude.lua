-- Goes before every script.
--
-- Versions are text of 16 digits: as text they compare like numbers, and Lua's own numbers, which are doubles, print
-- with 14 digits. A script first reads and checks everything, and only then writes: an error after a write would leave
-- half of it behind. Replies begin with a word:
--   ok        done, or decided write by write
--   evicted   nothing written: the registration is not live
--   stale     nothing written: the lane's generation moved on
--   differs   nothing written: the version is another one, which follows
--   amnesia   nothing written: the store remembers less than the sender does; the reason follows
--   refused   nothing written, for the reason that follows
--   partly    something may be written: the server refused a command after an earlier one
local NOTHING = '0000000000000000'
-- The version of what somebody else put at the key of a record.
local FOREIGN = '9999999999999999'
-- Above 2^53 doubles have gaps. The wall clock gets there in the year 4800.
local HIGHEST = 9007199254740991

local failure = nil
local written = false

local function read(...)
  if failure then return nil end
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    failure = reply.err
    return nil
  end
  return reply
end

local function write(...)
  if failure then return end
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then
    failure = reply.err
    return
  end
  written = true
end

-- Lets what this script writes through although the server is out of memory. A server refuses only the first write of a
-- script, and only if that one needs memory. This one needs none and changes nothing: a root record has no time to live.
local function insist(root_key)
  if failure then return end
  local reply = redis.pcall('PERSIST', root_key)
  if type(reply) == 'table' and reply.err then failure = reply.err end
end

-- The answer to a failure, if there was one.
local function failed()
  if not failure then return nil end
  return {written and 'partly' or 'refused', failure}
end

-- Checks that this is the store the sender opened, and that its versions have not fallen. Answers the highest version,
-- or nothing and the refusal.
local function remember(root_key, high_key, identity, seen)
  local root = read('GET', root_key)
  local high = read('GET', high_key)
  if failure then return nil, failed() end
  if not root then return nil, {'amnesia', 'the root record is missing'} end
  if string.sub(root, 1, #identity) ~= identity then
    return nil, {'amnesia', 'the root record changed'}
  end
  if not high then high = NOTHING end
  if #high ~= 16 or string.find(high, '%D') then
    return nil, {'refused', 'the key of the highest version holds something else'}
  end
  if high < seen then return nil, {'amnesia', 'the highest version fell from ' .. seen .. ' to ' .. high} end
  return high, nil
end

-- The version of what this script writes: the server's clock in units of 10 microseconds, or one more than the last.
local function version_after(high)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 100000 + math.floor(tonumber(time[2]) / 10)
  local version = tonumber(high) + 1
  if now > version then version = now end
  if version > HIGHEST then
    failure = 'versions are used up: the clock of the server was set far into the future'
    return NOTHING
  end
  return string.format('%016.0f', version)
end

-- Checks the sender of a guarded script: its registration is live, its lane has not moved on, and the lane's last
-- write is not older than the last one that was acknowledged to the sender. Answers what the lane's field holds, or
-- nothing and the refusal.
local function admit(broker_key, lane, generation, acknowledged)
  local stored = read('HMGET', broker_key, 's', lane)
  if failure then return nil, failed() end
  if stored[1] ~= 'live' then return nil, {'evicted'} end
  local field = stored[2] or ('00000000000000000001:' .. NOTHING)
  if string.sub(field, 22) < acknowledged then
    return nil, {'amnesia', 'an acknowledged write of this broker is gone'}
  end
  if string.sub(field, 1, 20) > generation then return nil, {'stale'} end
  return field, nil
end
