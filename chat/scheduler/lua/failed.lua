-- Notes a call of a deployment that failed through its provider's fault.
--
-- KEYS[1] limit     KEYS[2] stats         KEYS[3] breaker          KEYS[4] failures
-- KEYS[5] unreachable   KEYS[6] failing_owners   KEYS[7] failing_lanes
-- KEYS[8] successes     KEYS[9] served
-- ARGV[1] throttled (429), unreachable (no connection) or failed
-- ARGV[2] cap of the deployment     ARGV[3] seconds to pause it for, where it was throttled
-- ARGV[4] task id                   ARGV[5] its owner's id   ARGV[6] <owner id>:<lane> of the task
-- ARGV[7] seconds for which failures and successes count
-- ARGV[8] different tasks that must fail   ARGV[9] so many suffice where no connection came about
-- ARGV[10] share of successes below which the breaker opens
-- ARGV[11] seconds it stays open at first  ARGV[12] at most
-- ARGV[13] 1: it is the only one of its pool, which it blocks
--
-- What each key holds: chat/scheduler/keys.py. `halved_until`: one burst of 429 halves a limit once.
-- In `failures` a task that is tried again and again counts once. The breaker: open_until, opened
-- (times in a row); by claim.lua: probe (the task that finds out whether the provider is back),
-- probe_until, probe_kind, fresh_at.
--
-- Requests may be to blame for errors, but not for a connection that is not there. So the tasks of
-- one owner open the breaker by errors only if no other owner was served a moment ago.
--
-- Returns when the deployment may be called again: seconds from now.
local limits, stats, breaker, failures, unreachable_tasks = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local owners, lanes, successes_key, served = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local kind, cap, retry_after = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local task, owner, window = ARGV[4], ARGV[5], tonumber(ARGV[7])
local first_seconds, max_seconds = tonumber(ARGV[11]), tonumber(ARGV[12])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

local function block(reason, until_time)
  if ARGV[13] ~= '1' then return end
  redis.call('HSET', stats, 'blocked_by', reason, 'blocked_until', until_time)
end

if kind == 'throttled' then
  local wait = math.max(retry_after, 1)
  local state = redis.call('HMGET', limits, 'limit', 'halved_until', 'paused_until')
  if tonumber(state[2] or 0) <= now then
    -- Of the limit, not of the calls at the moment: one 429 on a quiet pool says little, and must
    -- not leave it with one call at a time.
    local limit = math.min(tonumber(state[1] or cap), cap)
    redis.call('HSET', limits, 'limit', math.max(1, math.floor(limit / 2)))
    redis.call('HSET', limits, 'halved_until', now + wait)
  end
  local paused_until = math.max(tonumber(state[3] or 0), now + wait)
  redis.call('HSET', limits, 'paused_until', paused_until)
  redis.call('EXPIRE', limits, math.ceil(paused_until - now) + 3600)
  block('pause', paused_until)
  return tostring(paused_until - now)
end

-- Adds the task to a set of failures, and returns how many of the window there are.
local function count_failure(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  redis.call('ZADD', key, now, task)
  redis.call('EXPIRE', key, window)
  return redis.call('ZCARD', key)
end

-- The owners of failed tasks are kept for longer: the breaker may be open for that long.
redis.call('ZADD', owners, now, owner)
redis.call('ZADD', lanes, now, ARGV[6])
redis.call('EXPIRE', owners, window + 2 * max_seconds)
redis.call('EXPIRE', lanes, window + 2 * max_seconds)

local state = redis.call('HMGET', breaker, 'open_until', 'opened', 'probe', 'probe_kind')
if state[1] then
  local open_until, opened = tonumber(state[1]), tonumber(state[2])
  -- Failures of calls that began before the breaker opened say nothing new, and of a task that had
  -- failed before, little: it may be to blame itself.
  if state[3] == task then
    if state[4] ~= 'failed' then opened = opened + 1 end
    open_until = now + math.min(first_seconds * 2 ^ (opened - 1), max_seconds)
    redis.call('HSET', breaker, 'open_until', open_until, 'opened', opened)
    redis.call('HDEL', breaker, 'probe', 'probe_until')
    redis.call('EXPIRE', breaker, 3600)
  end
  block('breaker', open_until)
  return tostring(math.max(open_until - now, 0))
end

local failing = count_failure(failures)
local unreachable = 0
if kind == 'unreachable' then unreachable = count_failure(unreachable_tasks) end
local successes = tonumber(redis.call('GET', successes_key) or 0)
if successes / (successes + failing) >= tonumber(ARGV[10]) then return '0' end

local function concerns_all()
  if redis.call('ZCOUNT', owners, now - window, '+inf') > 1 then return true end
  local others = redis.call('ZCOUNT', served, now - window, '+inf')
  if tonumber(redis.call('ZSCORE', served, owner) or 0) >= now - window then others = others - 1 end
  return others == 0
end

if unreachable >= tonumber(ARGV[9]) or failing >= tonumber(ARGV[8]) and concerns_all() then
  local open_until = now + first_seconds
  redis.call('HSET', breaker, 'open_until', open_until, 'opened', 1)
  redis.call('EXPIRE', breaker, 3600)
  block('breaker', open_until)
  return tostring(open_until - now)
end
return '0'
