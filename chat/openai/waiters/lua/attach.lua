-- Find the task of a dropped request for a request that repeats it.
--
-- KEYS     processes, held, dropped, due
-- ARGV[1]  the fingerprint
-- ARGV[2]  the process in which the repeated request waits from now on
-- ARGV[3]  seconds after which a process without a heartbeat counts as dead
--
-- Returns the waiter whose task it gets, the oldest one; or, where equal requests still wait in
-- processes that seem to live, how many seconds ago the first of these gave a heartbeat; or nil.
local processes, held, dropped, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local first, last = '[' .. ARGV[1] .. ':', '(' .. ARGV[1] .. ';'
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000

local function take(waiter)
  redis.call('ZADD', processes, 'NX', now, ARGV[2])
  local member = waiter .. '/' .. ARGV[2]
  redis.call('ZADD', held, 0, member)
  return waiter
end

local waiter = redis.call('ZRANGEBYLEX', dropped, first, last, 'LIMIT', 0, 1)[1]
if waiter then
  redis.call('ZREM', dropped, waiter)
  redis.call('ZREM', due, waiter)
  return take(waiter)
end
local longest
for _, member in ipairs(redis.call('ZRANGEBYLEX', held, first, last)) do
  local name
  waiter, name = string.match(member, '^(.+)/(.+)$')
  local seen = redis.call('ZSCORE', processes, name)
  -- The process that asks lives, however late its heartbeat is.
  local silence = name == ARGV[2] and 0 or seen and now - tonumber(seen)
  if not silence or silence > tonumber(ARGV[3]) then
    redis.call('ZREM', held, member)
    return take(waiter)
  end
  longest = math.max(longest or 0, silence)
end
return longest and tostring(longest)
