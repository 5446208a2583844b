-- Has a worker's slots in one pool count for as long again.
--
-- KEYS[1] workers   KEYS[2…] three keys a deployment: the worker's slots, those of batch tasks, in_use
-- ARGV[1] worker id   ARGV[2] seconds its slots last
--
-- What each key holds: chat/scheduler/keys.py.
local worker, seconds = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], tonumber(time[1]) + tonumber(time[2]) / 1e6 + seconds, worker)
for i = 2, #KEYS, 3 do
  -- Claims of others drop the count of a worker that they take for dead.
  local count, batch = redis.call('SCARD', KEYS[i]), redis.call('SCARD', KEYS[i + 1])
  if count > 0 then
    if batch > 0 then count = count .. ':' .. batch end
    redis.call('HSET', KEYS[i + 2], worker, count)
    for key = i, i + 2 do redis.call('EXPIRE', KEYS[key], seconds * 10) end
  end
end
