-- Gives a worker the slots of its calls again, where Redis has lost them.
--
-- KEYS[1] the worker's slots   KEYS[2] those of batch tasks   KEYS[3] the deployment's in_use
-- ARGV[1] worker id   ARGV[2] seconds its slots last
-- ARGV[3…] two values a call: the id of its task, and 1 where that is of lane batch
--
-- What each key holds: chat/scheduler/keys.py.
for i = 3, #ARGV, 2 do
  redis.call('SADD', KEYS[1], ARGV[i])
  if ARGV[i + 1] == '1' then redis.call('SADD', KEYS[2], ARGV[i]) end
end
local count, batch = redis.call('SCARD', KEYS[1]), redis.call('SCARD', KEYS[2])
if batch > 0 then count = count .. ':' .. batch end
redis.call('HSET', KEYS[3], ARGV[1], count)
for i = 1, 3 do redis.call('EXPIRE', KEYS[i], tonumber(ARGV[2]) * 10) end
