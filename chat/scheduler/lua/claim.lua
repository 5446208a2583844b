-- Gives back the leases of ended calls and takes the next tasks, in one step, so that capacity is
-- neither exceeded nor idle in between. Also renews the worker's standing.
--
-- ARGV[1] pool            ARGV[2] worker id      ARGV[3] seconds the worker's leases last
-- ARGV[4] cap of the pool ARGV[5] tasks wanted   ARGV[6] lane width
-- ARGV[7] mean seconds of the ended calls, '' when unknown
-- ARGV[8] provider        ARGV[9] how many of the ended calls succeeded
-- ARGV[10] milliseconds for which nothing is taken after Redis was found empty
-- ARGV[11…] ids of tasks whose leases are given back
--
-- aily:workers              zset  worker id -> when its leases run out (Redis time, seconds)
-- aily:leases:<pool>:<wkr>  set   ids of the tasks it has a lease for
-- aily:limit:<pool>         hash  limit, paused_until: see failed.lua; missing: the cap holds
-- aily:breaker:<provider>   hash  open_until, probe_until, probe: see failed.lua
-- aily:known                string  missing: Redis is new, or has lost everything
-- aily:counting             string  set for a while after that: the leases are being counted anew
-- the rest: see enqueue.lua
--
-- Returns {left in the ready set, 1 while leases are being counted, task id, …}.
local pool, worker = ARGV[1], ARGV[2]
local ready, tags = 'aily:ready:' .. pool, 'aily:tags:' .. pool
local stats, mine = 'aily:stats:' .. pool, 'aily:leases:' .. pool .. ':' .. worker
local limits, breaker = 'aily:limit:' .. pool, 'aily:breaker:' .. ARGV[8]
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
redis.call('ZADD', 'aily:workers', now + tonumber(ARGV[3]), worker)
redis.call('DEL', 'aily:rung:' .. pool)
-- Calls go on at the provider whose leases nobody remembers. Until each worker has said again what
-- it runs, nobody knows how much room there is.
if redis.call('SET', 'aily:known', 1, 'NX') then
  redis.call('SET', 'aily:counting', 1, 'PX', ARGV[10])
end
local is_counting = redis.call('EXISTS', 'aily:counting') == 1
for i = 11, #ARGV do redis.call('SREM', mine, ARGV[i]) end
if ARGV[7] ~= '' then
  local mean = tonumber(redis.call('HGET', stats, 'seconds') or ARGV[7])
  redis.call('HSET', stats, 'seconds', mean * 0.9 + tonumber(ARGV[7]) * 0.1)
end

-- The limit grows by one for each `limit` calls that succeeded, until the cap is reached again;
-- faster where that would take for ever: a thousand successes bring back half of any cap.
local cap, succeeded = tonumber(ARGV[4]), tonumber(ARGV[9])
local state = redis.call('HMGET', limits, 'limit', 'paused_until')
local limit, is_paused = tonumber(state[1]), tonumber(state[2] or 0) > now
if limit and succeeded > 0 then
  limit = limit + succeeded * math.max(1 / limit, cap / 2000)
  if limit < cap then redis.call('HSET', limits, 'limit', limit)
  elseif not is_paused then redis.call('DEL', limits) end
end
if succeeded > 0 then redis.call('DEL', breaker, 'aily:failing:' .. ARGV[8]) end

local in_use = 0
for _, other in ipairs(redis.call('ZRANGEBYSCORE', 'aily:workers', now, '+inf')) do
  in_use = in_use + redis.call('SCARD', 'aily:leases:' .. pool .. ':' .. other)
end
local allowed = math.min(cap, math.floor(limit or cap))
local want = math.min(tonumber(ARGV[5]), allowed - in_use)
if is_paused or is_counting then want = 0 end
local open = redis.call('HMGET', breaker, 'open_until', 'probe_until', 'probe')
if open[1] then
  -- Open: nothing. Half open: one call at a time may find out whether the provider is back.
  local probe_until = tonumber(open[2] or 0)
  -- One that ended without telling (cancelled, or refused for its own fault) makes way.
  for i = 11, #ARGV do
    if ARGV[i] == open[3] then
      redis.call('HDEL', breaker, 'probe_until')
      probe_until = 0
    end
  end
  local may_probe = now >= tonumber(open[1]) and now >= probe_until
  want = math.min(want, may_probe and 1 or 0)
end
local out = {0, is_counting and 1 or 0}
if want > 0 then
  local width = tonumber(ARGV[6])
  local popped = redis.call('ZPOPMIN', ready, want)
  for i = 1, #popped, 2 do
    local score = tonumber(popped[i + 1])
    local lane = math.floor(score / width)
    redis.call('HSET', tags, 'now:' .. lane, score - lane * width)
    redis.call('SADD', mine, popped[i])
    out[#out + 1] = popped[i]
    in_use = in_use + 1
  end
  if open[1] and #out > 2 then
    redis.call('HSET', breaker, 'probe_until', now + 60, 'probe', out[3])
  end
end
redis.call('EXPIRE', mine, tonumber(ARGV[3]) * 10)
local left = redis.call('ZCARD', ready)
-- An empty set starts the next busy time with a clean slate, and keeps `tags` from growing.
if left == 0 then redis.call('DEL', tags) end
redis.call('HSET', stats, 'in_use', in_use, 'cap', allowed)
out[1] = left
return out
