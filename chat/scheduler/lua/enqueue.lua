-- Puts tasks into a pool's ready set, fairly between owners.
--
-- ARGV[1]  pool
-- ARGV[2]  lane width: scores of lane L lie in [L * width, (L + 1) * width)
-- ARGV[3]  milliseconds for which one ring of the doorbell is enough
-- ARGV[4…] four values a task: task id, lane, owner id, cost (1 / weight)
--
-- aily:ready:<pool>  zset  task id -> lane * width + virtual start
-- aily:tags:<pool>   hash  now:<lane> -> virtual time; owner:<lane>:<owner> -> that owner's finish
-- aily:stats:<pool>  hash  seconds (mean of a call), in_use, cap, blocked_by, blocked_until: as of
--                          the last claim, see claim.lua
-- aily:rung:<pool>   string, set while a ring is under way
-- aily:doorbell      pub/sub channel that idle workers listen to
-- aily:messaged:<pool>  string, set after a message where somebody heard the ring as well
--
-- Start-time fair queueing: a task starts, in virtual time, when its owner's last one finished or
-- now, whichever is later. A thousand tasks of one owner so interleave with ten of another.
-- A task that is in the set already keeps its place.
--
-- Returns {ring, now, seconds, in_use, cap, blocked_by, blocked_until, rank, rank, …}; ranks count
-- from 0. `now` is Redis' time in seconds, 0 where nothing blocks the pool.
local pool, width = ARGV[1], tonumber(ARGV[2])
local ready, tags = 'aily:ready:' .. pool, 'aily:tags:' .. pool
local out = {0, '0'}
local stats = redis.call(
  'HMGET', 'aily:stats:' .. pool, 'seconds', 'in_use', 'cap', 'blocked_by', 'blocked_until')
for i = 1, 5 do out[i + 2] = stats[i] or '' end
if out[6] ~= '' then
  local time = redis.call('TIME')
  out[2] = time[1] .. '.' .. string.format('%06d', time[2])
end
for i = 4, #ARGV, 4 do
  local id, lane, owner, cost = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  if not redis.call('ZSCORE', ready, id) then
    local field = 'owner:' .. lane .. ':' .. owner
    local times = redis.call('HMGET', tags, 'now:' .. lane, field)
    local start = math.max(tonumber(times[1] or 0), tonumber(times[2] or 0))
    redis.call('HSET', tags, field, start + cost)
    redis.call('ZADD', ready, tonumber(lane) * width + start, id)
  end
  out[#out + 1] = redis.call('ZRANK', ready, id)
end
if redis.call('SET', 'aily:rung:' .. pool, 1, 'NX', 'PX', ARGV[3]) then
  local heard = redis.call('PUBLISH', 'aily:doorbell', pool)
  if heard == 0 or redis.call('SET', 'aily:messaged:' .. pool, 1, 'NX', 'PX', ARGV[3]) then out[1] = 1 end
end
return out
