-- Stores values that were built under locks, each unless its lock is gone: then what it was built
-- from may have changed (an invalidation takes locks away), or building took too long.
-- KEYS: lock, value, lock, value...  ARGV: the locks' token, then for each pair: the value, and the
-- milliseconds it is kept. Returns how many were stored.
local stored = 0
for i = 1, #KEYS, 2 do
  if redis.call('GET', KEYS[i]) == ARGV[1] then
    redis.call('SET', KEYS[i + 1], ARGV[i + 1], 'PX', ARGV[i + 2])
    redis.call('UNLINK', KEYS[i])
    stored = stored + 1
  end
end
return stored
