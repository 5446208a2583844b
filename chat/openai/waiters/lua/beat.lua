-- One heartbeat of a process: what began and ended to wait there, and what is due anywhere.
--
-- KEYS     processes, held, dropped, due (chat/openai/waiters/keys.py)
-- ARGV[1]  the process
-- ARGV[2]  seconds after which a process without a heartbeat counts as dead
-- ARGV[3]  seconds from then on until the tasks of its requests are cancelled
-- ARGV[4]  how many tasks to return at most
-- ARGV[5]  how many of the following waiters began to wait; the others ended
-- ARGV[6…] waiters
--
-- Returns 1 if the process was known, and the waiters whose tasks are to be cancelled now.
local processes, held, dropped, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local process, began = ARGV[1], tonumber(ARGV[5])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local DAY = 86400

for i = 6, #ARGV do
  local waiter = ARGV[i]
  local member = waiter .. '/' .. process
  if i < 6 + began then
    redis.call('ZADD', held, 0, member)
    redis.call('ZREM', dropped, waiter)
    redis.call('ZREM', due, waiter)
  else
    redis.call('ZREM', held, member)
  end
end
local is_known = redis.call('ZADD', processes, now, process) == 0

local dead = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', processes, '-inf', now - tonumber(ARGV[2]))) do
  dead[name] = true
  redis.call('ZREM', processes, name)
end
if next(dead) then
  for _, member in ipairs(redis.call('ZRANGE', held, 0, -1)) do
    local waiter, name = string.match(member, '^(.+)/(.+)$')
    if dead[name] then
      redis.call('ZREM', held, member)
      redis.call('ZADD', dropped, 0, waiter)
      redis.call('ZADD', due, now + tonumber(ARGV[3]), waiter)
    end
  end
end

local ended = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, tonumber(ARGV[4]))
for _, waiter in ipairs(ended) do
  redis.call('ZREM', due, waiter)
  redis.call('ZREM', dropped, waiter)
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, DAY) end
return {is_known and 1 or 0, ended}
