-- Notes a call that failed through its provider's fault.
--
-- ARGV[1] pool   ARGV[2] provider   ARGV[3] throttled (429), unreachable (no connection) or failed
-- ARGV[4] cap of the pool           ARGV[5] seconds to pause the pool for, where it was throttled
-- ARGV[6] task id                   ARGV[7] its owner's id
-- ARGV[8] seconds for which failures and successes count
-- ARGV[9] different tasks that must fail   ARGV[10] so many suffice where no connection came about
-- ARGV[11] share of successes below which the breaker opens
-- ARGV[12] seconds it stays open at first  ARGV[13] at most   ARGV[14] the task's lane
--
-- aily:limit:<pool>        hash  limit (calls at once, under the cap), paused_until (nothing is
--                                claimed before), halved_until (one burst of 429 halves it once)
-- aily:failures:<provider>  zset  task -> when it failed last: one that is tried again and again
--                                counts once
-- aily:unreachable:<provider>     zset  those of them that found no connection
-- aily:failing_owners:<provider>  zset  owner -> when a task of theirs failed last
-- aily:failing_lanes:<provider>   zset  <owner>:<lane> -> when a task of theirs in it failed last
-- aily:successes:<provider>  string  calls that succeeded since tasks fail
-- aily:served:<provider>   zset  owner -> when a task of theirs succeeded last: see claim.lua
-- aily:breaker:<provider>  hash  open_until, opened (times in a row); see claim.lua: probe (the task
--                                that finds out whether it is back), probe_until, probe_kind, fresh_at
--
-- Requests may be to blame for errors, but not for a connection that is not there. So the tasks of one
-- owner open the breaker by errors only where nobody else was served a moment ago.
--
-- Returns when the pool may be claimed from again: seconds from now.
local pool, provider, kind = ARGV[1], ARGV[2], ARGV[3]
local task, owner, window = ARGV[6], ARGV[7], tonumber(ARGV[8])
local limits, breaker = 'aily:limit:' .. pool, 'aily:breaker:' .. provider
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6

local function block(by, until_time)
  redis.call('HSET', 'aily:stats:' .. pool, 'blocked_by', by, 'blocked_until', until_time)
end

if kind == 'throttled' then
  local wait = math.max(tonumber(ARGV[5]), 1)
  local state = redis.call('HMGET', limits, 'limit', 'halved_until', 'paused_until')
  if tonumber(state[2] or 0) <= now then
    -- Of the limit, not of the calls at the moment: one 429 on a quiet pool says little, and must
    -- not leave it with one call at a time.
    local limit = math.min(tonumber(state[1] or ARGV[4]), tonumber(ARGV[4]))
    redis.call('HSET', limits, 'limit', math.max(1, math.floor(limit / 2)))
    redis.call('HSET', limits, 'halved_until', now + wait)
  end
  local paused_until = math.max(tonumber(state[3] or 0), now + wait)
  redis.call('HSET', limits, 'paused_until', paused_until)
  redis.call('EXPIRE', limits, math.ceil(paused_until - now) + 3600)
  block('pause', paused_until)
  return tostring(paused_until - now)
end

local function note(key, member)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now - window)
  redis.call('ZADD', key, now, member)
  redis.call('EXPIRE', key, window)
  return redis.call('ZCARD', key)
end

-- Whose tasks failed is remembered for longer: the breaker may be open for that long.
local owners, lanes = 'aily:failing_owners:' .. provider, 'aily:failing_lanes:' .. provider
redis.call('ZADD', owners, now, owner)
redis.call('ZADD', lanes, now, owner .. ':' .. ARGV[14])
redis.call('EXPIRE', owners, window + 2 * tonumber(ARGV[13]))
redis.call('EXPIRE', lanes, window + 2 * tonumber(ARGV[13]))

local state = redis.call('HMGET', breaker, 'open_until', 'opened', 'probe', 'probe_kind')
if state[1] then
  local open_until, opened = tonumber(state[1]), tonumber(state[2])
  -- Failures of calls that began before the breaker opened say nothing new, and of a task that had
  -- failed before little: it may be to blame itself.
  if state[3] == task then
    if state[4] ~= 'failed' then opened = opened + 1 end
    open_until = now + math.min(tonumber(ARGV[12]) * 2 ^ (opened - 1), tonumber(ARGV[13]))
    redis.call('HSET', breaker, 'open_until', open_until, 'opened', opened)
    redis.call('HDEL', breaker, 'probe', 'probe_until')
    redis.call('EXPIRE', breaker, 3600)
  end
  block('breaker', open_until)
  return tostring(math.max(open_until - now, 0))
end

local failing = note('aily:failures:' .. provider, task)
local unreachable = 0
if kind == 'unreachable' then unreachable = note('aily:unreachable:' .. provider, task) end
local successes = tonumber(redis.call('GET', 'aily:successes:' .. provider) or 0)
if successes / (successes + failing) >= tonumber(ARGV[11]) then return '0' end

local function concerns_all()
  if redis.call('ZCOUNT', owners, now - window, '+inf') > 1 then return true end
  local served = 'aily:served:' .. provider
  local others = redis.call('ZCOUNT', served, now - window, '+inf')
  if tonumber(redis.call('ZSCORE', served, owner) or 0) >= now - window then others = others - 1 end
  return others == 0
end

if unreachable >= tonumber(ARGV[10]) or failing >= tonumber(ARGV[9]) and concerns_all() then
  local open_until = now + tonumber(ARGV[12])
  redis.call('HSET', breaker, 'open_until', open_until, 'opened', 1)
  redis.call('EXPIRE', breaker, 3600)
  block('breaker', open_until)
  return tostring(open_until - now)
end
return '0'
