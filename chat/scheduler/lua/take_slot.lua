-- Takes one slot under a cap, for a call that waits in no ready set: that of a tool.
--
-- KEYS[1] workers   KEYS[2] known   KEYS[3] counting   KEYS[4] the holder's slots   KEYS[5] in_use
-- ARGV[1] the holder: a process   ARGV[2] seconds its slots last   ARGV[3] cap   ARGV[4] id of the call
-- ARGV[5] milliseconds for which nothing is taken after Redis was found empty
--
-- What each key holds: chat/scheduler/keys.py.
--
-- Returns 1: taken; 0: all are in use; -1: slots are being counted.
local workers, slots, in_use_by_holder = KEYS[1], KEYS[4], KEYS[5]
local holder, seconds, cap, call = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
redis.call('ZADD', workers, now + seconds, holder)
-- As in claim.lua: calls go on whose slots Redis has lost.
if redis.call('SET', KEYS[2], 1, 'NX') then redis.call('SET', KEYS[3], 1, 'PX', ARGV[5]) end
if redis.call('EXISTS', KEYS[3]) == 1 then return -1 end
if redis.call('SISMEMBER', slots, call) == 1 then return 1 end

local own = redis.call('SCARD', slots)
local in_use = own
local counts = redis.call('HGETALL', in_use_by_holder)
for i = 1, #counts, 2 do
  local other = counts[i]
  if other ~= holder then
    if tonumber(redis.call('ZSCORE', workers, other) or 0) > now then
      in_use = in_use + tonumber(counts[i + 1])
    else
      redis.call('HDEL', in_use_by_holder, other)
      redis.call('ZREM', workers, other)
    end
  end
end
if in_use >= cap then return 0 end
redis.call('SADD', slots, call)
redis.call('HSET', in_use_by_holder, holder, own + 1)
for i = 4, 5 do redis.call('EXPIRE', KEYS[i], seconds * 10) end
return 1
