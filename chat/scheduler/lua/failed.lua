-- Notes a call that failed through its provider's fault.
--
-- ARGV[1] pool   ARGV[2] provider   ARGV[3] 1: the provider said that there are too many calls
-- ARGV[4] cap of the pool           ARGV[5] Retry-After in seconds, 0 when it gave none
-- ARGV[6] tasks failing in a row that open the breaker
-- ARGV[7] seconds it stays open at first, doubled by each failed probe   ARGV[8] at most
-- ARGV[9] task id
--
-- aily:limit:<pool>        hash  limit (calls at once, under the cap), paused_until (nothing is
--                                claimed before), halved_until (one burst of 429 halves it once)
-- aily:failing:<provider>  set   tasks that failed in a row: one that is tried again and again
--                                counts once
-- aily:breaker:<provider>  hash  open_until, opened (times in a row), probe (the
--                                task that finds out whether it is back), probe_until
-- Both are deleted by the first success.
--
-- Returns when the pool may be claimed from again: seconds from now.
local pool, provider = ARGV[1], ARGV[2]
local limits, breaker = 'aily:limit:' .. pool, 'aily:breaker:' .. provider
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
if ARGV[3] == '1' then
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
  return tostring(paused_until - now)
end
local failing = 'aily:failing:' .. provider
redis.call('SADD', failing, ARGV[9])
redis.call('EXPIRE', failing, 600)
local failures = redis.call('SCARD', failing)
local state = redis.call('HMGET', breaker, 'open_until', 'opened')
local open_until = tonumber(state[1] or 0)
-- Failures of calls that began before the breaker opened say nothing new.
if failures >= tonumber(ARGV[6]) and open_until <= now then
  local opened = tonumber(state[2] or 0)
  open_until = now + math.min(tonumber(ARGV[7]) * 2 ^ opened, tonumber(ARGV[8]))
  redis.call('HSET', breaker, 'open_until', open_until, 'opened', opened + 1)
  redis.call('HDEL', breaker, 'probe_until')
  redis.call('EXPIRE', breaker, 3600)
end
return tostring(math.max(open_until - now, 0))
