-- Gives back the slots of ended calls and takes the next tasks, in one step, so that capacity is
-- neither exceeded nor idle in between. Also renews the worker, as renew.lua does.
--
-- KEYS[1] ready    KEYS[2] virtual_times   KEYS[3] stats   KEYS[4] the worker's slots
-- KEYS[5] in_use   KEYS[6] limit           KEYS[7] rung
-- of the provider: KEYS[8] workers   KEYS[9] known   KEYS[10] counting   KEYS[11] breaker
-- KEYS[12] failures   KEYS[13] unreachable   KEYS[14] failing_owners   KEYS[15] failing_lanes
-- KEYS[16] successes  KEYS[17] served
-- ARGV[1] worker id       ARGV[2] seconds the worker's slots last
-- ARGV[3] cap of the pool ARGV[4] tasks wanted   ARGV[5] lane width
-- ARGV[6] mean seconds of the ended calls, '' when unknown
-- ARGV[7] how many of the ended calls succeeded
-- ARGV[8] milliseconds for which nothing is taken after Redis was found empty
-- ARGV[9] the owners of those that succeeded, joined by commas
-- ARGV[10] seconds for which successes count; see failed.lua
-- ARGV[11] seconds between two probes by fresh tasks
-- ARGV[12] the task that is to find out whether the provider is back; '': none
-- ARGV[13] of it: fresh (no task of its owner in its lane has failed), healthy (it has not), failed
-- ARGV[14] seconds that a pause lasts at the most
-- ARGV[15…] ids of tasks whose slots are given back
--
-- What each key holds: chat/scheduler/keys.py. The breaker's fields are failed.lua's, and fresh_at:
-- when a fresh task may probe although the breaker is open. In `stats`, blocked_by is '', pause or
-- breaker; blocked_until is Redis time, '' where that depends on a probe that runs.
--
-- Returns {left in the ready set, 1 while slots are being counted, which task may probe (0: none,
-- 1: a fresh one, 2: any), task id, …}.
local ready, virtual_times, stats, slots, in_use_by_worker = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local limits, rung, workers, known, counting, breaker = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10], KEYS[11]
local failures, unreachable, failing_owners, failing_lanes = KEYS[12], KEYS[13], KEYS[14], KEYS[15]
local successes, served = KEYS[16], KEYS[17]
local worker, slot_seconds = ARGV[1], tonumber(ARGV[2])
local cap, wanted, width = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local succeeded, success_seconds = tonumber(ARGV[7]), tonumber(ARGV[10])
local probe, probe_kind, max_pause = ARGV[12], ARGV[13], tonumber(ARGV[14])
local first_released = 15
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
redis.call('ZADD', workers, now + slot_seconds, worker)
redis.call('DEL', rung)
-- Calls go on at the provider whose slots Redis has lost. How much room there is, is known again
-- once each worker has restored the slots of its calls.
if redis.call('SET', known, 1, 'NX') then redis.call('SET', counting, 1, 'PX', ARGV[8]) end
local is_counting = redis.call('EXISTS', counting) == 1
for i = first_released, #ARGV do redis.call('SREM', slots, ARGV[i]) end
if ARGV[6] ~= '' then
  local mean = tonumber(redis.call('HGET', stats, 'seconds') or ARGV[6])
  redis.call('HSET', stats, 'seconds', mean * 0.9 + tonumber(ARGV[6]) * 0.1)
end

-- The limit grows by one for each `limit` calls that succeeded, until the cap is reached again;
-- faster where that would take for ever: a thousand successes bring back half of any cap.
local state = redis.call('HMGET', limits, 'limit', 'paused_until')
local limit, paused_until = tonumber(state[1]), tonumber(state[2] or 0)
if paused_until > now + max_pause + 1 then
  -- From before the setting was lowered.
  paused_until = now + max_pause
  redis.call('HSET', limits, 'paused_until', paused_until)
  redis.call('EXPIRE', limits, math.ceil(max_pause) + 3600)
end
local is_paused = paused_until > now
if limit and succeeded > 0 then
  limit = limit + succeeded * math.max(1 / limit, cap / 2000)
  if limit < cap then redis.call('HSET', limits, 'limit', limit)
  elseif not is_paused then redis.call('DEL', limits) end
end

local open = redis.call('HMGET', breaker, 'open_until', 'probe_until', 'probe', 'fresh_at')
if succeeded > 0 then
  local failing = redis.call('ZCARD', failures)
  local is_better = failing > 0
    and redis.call('INCRBY', successes, succeeded) >= failing
  if open[1] or is_better then
    -- The provider answers, or does so half of the time: failures until now are forgotten.
    redis.call('DEL', breaker, failures, unreachable, failing_owners, failing_lanes, successes)
    open = {}
  elseif failing > 0 then
    redis.call('EXPIRE', successes, success_seconds)
  end
  if ARGV[9] ~= '' then
    local members = {}
    for owner in string.gmatch(ARGV[9], '[^,]+') do
      members[#members + 1], members[#members + 2] = now, owner
    end
    if redis.call('ZADD', served, unpack(members)) > 0 then
      redis.call('ZREMRANGEBYSCORE', served, '-inf', now - success_seconds)
    end
    redis.call('EXPIRE', served, success_seconds)
  end
end

-- Of its own slots a worker counts those that it has; of the others the last count counts.
local is_living, own, counted = {}, redis.call('SCARD', slots), 0
for _, other in ipairs(redis.call('ZRANGEBYSCORE', workers, now, '+inf')) do is_living[other] = true end
local in_use, counts = own, redis.call('HGETALL', in_use_by_worker)
for i = 1, #counts, 2 do
  local other, count = counts[i], tonumber(counts[i + 1])
  if other == worker then counted = count
  elseif is_living[other] then in_use = in_use + count
  else redis.call('HDEL', in_use_by_worker, other) end
end
local allowed = math.min(cap, math.floor(limit or cap))
local want = math.min(wanted, allowed - in_use)
if is_paused or is_counting then want = 0 end
local out = {0, is_counting and 1 or 0, 0}

local function take(id)
  -- 0 where the worker calls for the task already: the sweep may have put it back before it started.
  local added = redis.call('SADD', slots, id)
  own, in_use = own + added, in_use + added
  out[#out + 1] = id
end

local blocked_by, blocked_until = is_paused and 'pause' or '', is_paused and paused_until or ''
if open[1] then
  -- Open: nothing is taken by its turn. One call at a time may find out whether the provider is back
  -- when the time has passed; a fresh one at any time, some seconds after the last that did, which
  -- may be slow.
  local open_until, probe_until = tonumber(open[1]), tonumber(open[2] or 0)
  -- A probe that ended without a result (cancelled, or refused for its own fault) makes way.
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
  local is_allowed = out[3] == 2 or out[3] == 1 and probe_kind == 'fresh'
  if probe ~= '' and is_allowed and redis.call('ZREM', ready, probe) == 1 then
    take(probe)
    out[3], probe_until = 0, now + 60
    redis.call('HSET', breaker, 'probe_until', probe_until, 'probe', probe,
      'probe_kind', probe_kind, 'fresh_at', now + tonumber(ARGV[11]))
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
  local popped = redis.call('ZPOPMIN', ready, want)
  for i = 1, #popped, 2 do
    local score = tonumber(popped[i + 1])
    local lane = math.floor(score / width)
    local lane_field = 'now:' .. lane
    redis.call('HSET', virtual_times, lane_field, score - lane * width)
    take(popped[i])
  end
end
if own ~= counted then
  if own > 0 then redis.call('HSET', in_use_by_worker, worker, own)
  else redis.call('HDEL', in_use_by_worker, worker) end
end
redis.call('EXPIRE', slots, slot_seconds * 10)
local left = redis.call('ZCARD', ready)
-- An empty set starts the next busy time with a clean slate, and keeps the virtual times few.
if left == 0 then redis.call('DEL', virtual_times) end
redis.call('HSET', stats, 'in_use', in_use, 'cap', allowed,
  'blocked_by', blocked_by, 'blocked_until', blocked_until)
out[1] = left
return out
