-- Gives back the leases of ended calls and takes the next tasks, in one step, so that capacity is
-- neither exceeded nor idle in between. Also renews the worker's standing.
--
-- ARGV[1] pool            ARGV[2] worker id      ARGV[3] seconds the worker's leases last
-- ARGV[4] cap of the pool ARGV[5] tasks wanted   ARGV[6] lane width
-- ARGV[7] mean seconds of the ended calls, '' when unknown
-- ARGV[8] provider        ARGV[9] how many of the ended calls succeeded
-- ARGV[10] milliseconds for which nothing is taken after Redis was found empty
-- ARGV[11] the owners of those that succeeded, joined by commas
-- ARGV[12] seconds for which successes count; see failed.lua
-- ARGV[13] seconds between two probes by fresh tasks
-- ARGV[14] the task that is to find out whether the provider is back; '': none
-- ARGV[15] of it: fresh (no task of its owner in its lane has failed), healthy (it has not), failed
-- ARGV[16] seconds that a pause lasts at the most
-- ARGV[17…] ids of tasks whose leases are given back
--
-- aily:workers              zset  worker id -> when its leases run out (Redis time, seconds)
-- aily:leases:<pool>:<wkr>  set   ids of the tasks it has a lease for
-- aily:limit:<pool>         hash  limit, paused_until: see failed.lua; missing: the cap holds
-- aily:breaker:<provider>   hash  open_until, probe_until, probe, probe_kind, fresh_at (when a fresh
--                                 task may probe although it is open): see failed.lua
-- aily:known                string  missing: Redis is new, or has lost everything
-- aily:counting             string  set for a while after that: the leases are being counted anew
-- aily:stats:<pool>         hash  blocked_by: '', pause or breaker; blocked_until: Redis time, '' where
--                                 that depends on a probe that runs
-- the rest: see enqueue.lua and failed.lua
--
-- Returns {left in the ready set, 1 while leases are being counted, which task may probe (0: none,
-- 1: a fresh one, 2: any), task id, …}.
local pool, worker, provider = ARGV[1], ARGV[2], ARGV[8]
local ready, tags = 'aily:ready:' .. pool, 'aily:tags:' .. pool
local stats, mine = 'aily:stats:' .. pool, 'aily:leases:' .. pool .. ':' .. worker
local limits, breaker = 'aily:limit:' .. pool, 'aily:breaker:' .. provider
local first_released = 17
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
for i = first_released, #ARGV do redis.call('SREM', mine, ARGV[i]) end
if ARGV[7] ~= '' then
  local mean = tonumber(redis.call('HGET', stats, 'seconds') or ARGV[7])
  redis.call('HSET', stats, 'seconds', mean * 0.9 + tonumber(ARGV[7]) * 0.1)
end

-- The limit grows by one for each `limit` calls that succeeded, until the cap is reached again;
-- faster where that would take for ever: a thousand successes bring back half of any cap.
local cap, succeeded = tonumber(ARGV[4]), tonumber(ARGV[9])
local state = redis.call('HMGET', limits, 'limit', 'paused_until')
local limit, paused_until = tonumber(state[1]), tonumber(state[2] or 0)
local longest = now + tonumber(ARGV[16])
if paused_until > longest + 1 then
  -- From before the setting was lowered.
  paused_until = longest
  redis.call('HSET', limits, 'paused_until', paused_until)
  redis.call('EXPIRE', limits, math.ceil(tonumber(ARGV[16])) + 3600)
end
local is_paused = paused_until > now
if limit and succeeded > 0 then
  limit = limit + succeeded * math.max(1 / limit, cap / 2000)
  if limit < cap then redis.call('HSET', limits, 'limit', limit)
  elseif not is_paused then redis.call('DEL', limits) end
end

local open = redis.call('HMGET', breaker, 'open_until', 'probe_until', 'probe', 'fresh_at')
if succeeded > 0 then
  local failing = redis.call('ZCARD', 'aily:failures:' .. provider)
  local is_better = failing > 0
    and redis.call('INCRBY', 'aily:successes:' .. provider, succeeded) >= failing
  if open[1] or is_better then
    -- It answers, or does so half of the time: what failed until now is forgotten.
    redis.call('DEL', breaker, 'aily:failures:' .. provider, 'aily:unreachable:' .. provider,
      'aily:failing_owners:' .. provider, 'aily:failing_lanes:' .. provider,
      'aily:successes:' .. provider)
    open = {}
  elseif failing > 0 then
    redis.call('EXPIRE', 'aily:successes:' .. provider, ARGV[12])
  end
  if ARGV[11] ~= '' then
    local served, members = 'aily:served:' .. provider, {}
    for owner in string.gmatch(ARGV[11], '[^,]+') do
      members[#members + 1], members[#members + 2] = now, owner
    end
    if redis.call('ZADD', served, unpack(members)) > 0 then
      redis.call('ZREMRANGEBYSCORE', served, '-inf', now - tonumber(ARGV[12]))
    end
    redis.call('EXPIRE', served, ARGV[12])
  end
end

local in_use = 0
for _, other in ipairs(redis.call('ZRANGEBYSCORE', 'aily:workers', now, '+inf')) do
  in_use = in_use + redis.call('SCARD', 'aily:leases:' .. pool .. ':' .. other)
end
local allowed = math.min(cap, math.floor(limit or cap))
local want = math.min(tonumber(ARGV[5]), allowed - in_use)
if is_paused or is_counting then want = 0 end
local out = {0, is_counting and 1 or 0, 0}

local function take(id)
  redis.call('SADD', mine, id)
  out[#out + 1] = id
  in_use = in_use + 1
end

local blocked_by, blocked_until = is_paused and 'pause' or '', is_paused and paused_until or ''
if open[1] then
  -- Open: nothing is taken by its turn. One call at a time may find out whether the provider is back
  -- when the time has passed; a fresh one at any time, some seconds after the last that did, which
  -- may be slow.
  local open_until, probe_until = tonumber(open[1]), tonumber(open[2] or 0)
  -- A probe that ended without telling (cancelled, or refused for its own fault) makes way.
  for i = first_released, #ARGV do
    if ARGV[i] == open[3] then
      redis.call('HDEL', breaker, 'probe', 'probe_until')
      probe_until = 0
    end
  end
  if want > 0 then
    if now >= math.max(open_until, probe_until) then out[3] = 2
    elseif now >= tonumber(open[4] or 0) then out[3] = 1 end
  end
  local is_allowed = out[3] == 2 or out[3] == 1 and ARGV[15] == 'fresh'
  if ARGV[14] ~= '' and is_allowed and redis.call('ZREM', ready, ARGV[14]) == 1 then
    take(ARGV[14])
    out[3], probe_until = 0, now + 60
    redis.call('HSET', breaker, 'probe_until', probe_until, 'probe', ARGV[14],
      'probe_kind', ARGV[15], 'fresh_at', now + tonumber(ARGV[13]))
  end
  want = 0
  if not is_paused or open_until > paused_until then
    blocked_by = 'breaker'
    if open_until > now then blocked_until = open_until
    elseif probe_until > now then blocked_until = ''
    else blocked_until = now end
  end
end
if want > 0 then
  local width = tonumber(ARGV[6])
  local popped = redis.call('ZPOPMIN', ready, want)
  for i = 1, #popped, 2 do
    local score = tonumber(popped[i + 1])
    local lane = math.floor(score / width)
    redis.call('HSET', tags, 'now:' .. lane, score - lane * width)
    take(popped[i])
  end
end
redis.call('EXPIRE', mine, tonumber(ARGV[3]) * 10)
local left = redis.call('ZCARD', ready)
-- An empty set starts the next busy time with a clean slate, and keeps `tags` from growing.
if left == 0 then redis.call('DEL', tags) end
redis.call('HSET', stats, 'in_use', in_use, 'cap', allowed,
  'blocked_by', blocked_by, 'blocked_until', blocked_until)
out[1] = left
return out
