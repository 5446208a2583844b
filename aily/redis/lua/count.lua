-- Counts requests in sliding windows, of many subjects at once.
--
-- KEYS     rate of each subject (aily/redis/keys.py)
-- ARGV[1]  length of a window in ms
-- ARGV[2…] two values a subject: the limit of requests in a window, requests to count
--
-- A window begins with the first request after a pause, or where the one before has ended. Of the
-- window before (`previous`) ever less counts.
--
-- Returns three numbers a subject: requests that there was room for, room left, ms until there
-- is more.
local length = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local out = {}
for i, key in ipairs(KEYS) do
  local limit, wanted = tonumber(ARGV[2 * i]), tonumber(ARGV[2 * i + 1])
  local stored = redis.call('HMGET', key, 'start', 'current', 'previous')
  local start = tonumber(stored[1] or now)
  local current, previous = tonumber(stored[2] or 0), tonumber(stored[3] or 0)
  if now - start >= 2 * length then
    start, current, previous = now, 0, 0
  elseif now - start >= length then
    start, current, previous = start + length, 0, current
  end
  local rest = start + length - now
  local room = math.max(limit - current - math.floor(previous * rest / length), 0)
  local counted = math.min(wanted, room)
  if counted > 0 then
    redis.call('HSET', key, 'start', start, 'current', current + counted, 'previous', previous)
    redis.call('PEXPIRE', key, rest + length)
  end
  local until_more = rest
  if previous > 0 then until_more = math.min(rest % (length / previous), rest) end
  out[#out + 1] = counted
  out[#out + 1] = room - counted
  out[#out + 1] = math.ceil(until_more)
end
return out
