-- Gives a worker the slots of its calls again, where Redis has lost them.
--
-- KEYS[1] the worker's slots   KEYS[2] the pool's in_use
-- ARGV[1] worker id   ARGV[2] seconds its slots last   ARGV[3…] ids of the tasks that it calls for
--
-- What each key holds: chat/scheduler/keys.py.
for i = 3, #ARGV do redis.call('SADD', KEYS[1], ARGV[i]) end
redis.call('HSET', KEYS[2], ARGV[1], redis.call('SCARD', KEYS[1]))
redis.call('EXPIRE', KEYS[1], tonumber(ARGV[2]) * 10)
redis.call('EXPIRE', KEYS[2], tonumber(ARGV[2]) * 10)
