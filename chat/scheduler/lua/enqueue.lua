-- Puts tasks into a pool's ready set, fairly between owners.
--
-- KEYS[1] ready   KEYS[2] virtual_times   KEYS[3] stats   KEYS[4] rung   KEYS[5] messaged
-- KEYS[6] tried   KEYS[7] sizes
-- ARGV[1]  pool
-- ARGV[2]  lane width: scores of lane L lie in [L * width, (L + 1) * width)
-- ARGV[3]  milliseconds for which one ring of the doorbell is enough
-- ARGV[4]  the doorbell: channel that idle workers are subscribed to
-- ARGV[5…] six values a task: task id, lane, owner id, cost (1 / weight), tokens that it may use at
--          most ('': they are not counted), deployments that it has tried (',name,name,'; '': none)
--
-- What each key holds: chat/scheduler/keys.py.
--
-- Start-time fair queueing: a task starts, in virtual time, when its owner's last one finished or
-- now, whichever is later. A thousand tasks of one owner so interleave with ten of another.
-- A task that is in the set already keeps its place.
--
-- Returns {ring, now, seconds, in_use, cap, blocked_by, blocked_until, rank, rank, …}; ranks count
-- from 0. `now` is Redis' time in seconds, 0 where nothing blocks the pool.
local ready, virtual_times = KEYS[1], KEYS[2]
local pool, width, ring_ms, doorbell = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local out = {0, '0'}
local stats = redis.call(
  'HMGET', KEYS[3], 'seconds', 'in_use', 'cap', 'blocked_by', 'blocked_until', 'preferred')
for i = 1, 5 do out[i + 2] = stats[i] or '' end
if out[6] ~= '' then
  local time = redis.call('TIME')
  out[2] = time[1] .. '.' .. string.format('%06d', time[2])
end
for i = 5, #ARGV, 6 do
  local id, lane, owner, cost = ARGV[i], ARGV[i + 1], ARGV[i + 2], tonumber(ARGV[i + 3])
  if ARGV[i + 4] ~= '' then redis.call('HSET', KEYS[7], id, ARGV[i + 4]) end
  if ARGV[i + 5] ~= '' then redis.call('HSET', KEYS[6], id, ARGV[i + 5]) end
  if not redis.call('ZSCORE', ready, id) then
    local lane_field, owner_field = 'now:' .. lane, 'owner:' .. lane .. ':' .. owner
    local times = redis.call('HMGET', virtual_times, lane_field, owner_field)
    local start = math.max(tonumber(times[1] or 0), tonumber(times[2] or 0))
    redis.call('HSET', virtual_times, owner_field, start + cost)
    redis.call('ZADD', ready, tonumber(lane) * width + start, id)
  end
  out[#out + 1] = redis.call('ZRANK', ready, id)
end
if redis.call('SET', KEYS[4], 1, 'NX', 'PX', ring_ms) then
  local subscribers, preferred = 0, stats[6]
  if preferred then subscribers = redis.call('PUBLISH', preferred, pool) end
  if subscribers == 0 then
    -- It is gone, if there was one.
    if preferred then redis.call('HDEL', KEYS[3], 'preferred') end
    subscribers = redis.call('PUBLISH', doorbell, pool)
  end
  -- A worker that was subscribed may be about to end: one message a second goes out all the same.
  if subscribers == 0 or redis.call('SET', KEYS[5], 1, 'NX', 'PX', ring_ms) then out[1] = 1 end
end
return out
