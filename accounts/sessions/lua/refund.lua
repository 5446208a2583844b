-- Gives back what a try was charged: it was right, or it was never judged.
--
-- ARGV[1]  name of what exempts from now on (empty: nothing new does), ARGV[2] for how many seconds
-- ARGV[3…] two values a gate: its name, ms between two tries
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for i = 3, #ARGV, 2 do
  local key = 'aily:login:' .. ARGV[i]
  local full = tonumber(redis.call('GET', key) or 0) - tonumber(ARGV[i + 1])
  if full <= now then
    redis.call('DEL', key)
  else
    redis.call('SET', key, full, 'PX', full - now)
  end
end
if ARGV[1] ~= '' then
  redis.call('SET', 'aily:login:' .. ARGV[1], 1, 'EX', ARGV[2])
end
