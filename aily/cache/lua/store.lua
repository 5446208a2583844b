-- Stores a value that was built under a lock, unless the lock is gone: then what it was built from
-- may have changed (an invalidation takes locks away), or building took too long.
--
-- KEYS[1] the lock   KEYS[2] the value
-- ARGV[1] the lock's token   ARGV[2] the value   ARGV[3] milliseconds it is kept
--
-- Returns 1 where the value was stored.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
redis.call('UNLINK', KEYS[1])
return 1
