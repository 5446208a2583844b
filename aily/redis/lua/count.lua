-- Counts requests in sliding windows, of many subjects at once.
--
-- ARGV[1]  length of a window in ms
-- ARGV[2…] three values a subject: its name, the most requests in a window, requests to count
--
-- aily:rate:<subject>  hash  start (Unix ms) of its window, current: requests counted in it,
--                            previous: in the window before, of which ever less counts
--
-- A window begins with the first request after a pause, or where the one before has ended.
--
-- Returns three numbers a subject: requests that there was room for, room left, ms until there
-- is more.
local length = tonumber(ARGV[1])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local out = {}
for i = 2, #ARGV, 3 do
  local key, most, wanted = 'aily:rate:' .. ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local kept = redis.call('HMGET', key, 'start', 'current', 'previous')
  local start = tonumber(kept[1] or now)
  local current, previous = tonumber(kept[2] or 0), tonumber(kept[3] or 0)
  if now - start >= 2 * length then
    start, current, previous = now, 0, 0
  elseif now - start >= length then
    start, current, previous = start + length, 0, current
  end
  local rest = start + length - now
  local room = math.max(most - current - math.floor(previous * rest / length), 0)
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
