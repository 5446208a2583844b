-- Note that the client of a waiting request is gone.
--
-- KEYS     processes, held, dropped, due
-- ARGV[1]  the waiter
-- ARGV[2]  the process in which it waited
-- ARGV[3]  1 if it was written to `held`: if it is gone from there, a repeated request has its task
-- ARGV[4]  seconds until its task is to be cancelled
-- ARGV[5]  how many dropped requests there may be
--
-- Returns 1 if it is noted, 0 if another request waits for its task, -1 if there are too many.
local held, dropped, due = KEYS[2], KEYS[3], KEYS[4]
local waiter = ARGV[1]
local member = waiter .. '/' .. ARGV[2]
local was_held = redis.call('ZREM', held, member)
if ARGV[3] == '1' and was_held == 0 then return 0 end
if redis.call('ZCARD', dropped) >= tonumber(ARGV[5]) then return -1 end
local time = redis.call('TIME')
redis.call('ZADD', dropped, 0, waiter)
redis.call('ZADD', due, tonumber(time[1]) + tonumber(time[2]) / 1000000 + tonumber(ARGV[4]), waiter)
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, 86400) end
return 1
