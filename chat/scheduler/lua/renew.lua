-- Has a worker's slots at one provider count for as long again.
--
-- KEYS[1] workers   KEYS[2…] two keys a pool: the worker's slots, the pool's in_use
-- ARGV[1] worker id   ARGV[2] seconds its slots last
--
-- What each key holds: chat/scheduler/keys.py.
local worker, seconds = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], tonumber(time[1]) + tonumber(time[2]) / 1e6 + seconds, worker)
for i = 2, #KEYS, 2 do
  -- Claims of others drop the count of a worker that they take for dead.
  local count = redis.call('SCARD', KEYS[i])
  if count > 0 then
    redis.call('HSET', KEYS[i + 1], worker, count)
    redis.call('EXPIRE', KEYS[i], seconds * 10)
    redis.call('EXPIRE', KEYS[i + 1], seconds * 10)
  end
end
