-- Renews a worker's standing, and with it that of its leases.
--
-- ARGV[1] worker id   ARGV[2] seconds its leases last   ARGV[3…] pools
--
-- Keys: see claim.lua.
local worker, seconds = ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
redis.call('ZADD', 'aily:workers', tonumber(time[1]) + tonumber(time[2]) / 1e6 + seconds, worker)
for i = 3, #ARGV do
  redis.call('EXPIRE', 'aily:leases:' .. ARGV[i] .. ':' .. worker, seconds * 10)
end
