-- Appends a change to a table's log and publishes that there is news.
--
-- KEYS[1]  the log, a stream whose entries have the fields `e` (the change) and `c` (how many rows
--          have changed since the log began)
-- ARGV     revision, the change, its number of rows, rows that the log keeps at the most, seconds
--          until the log expires, channel, notice
--
-- Writers announce after their commits, so a lower revision may come after a higher one. It is then
-- put behind that one, as `<higher revision>-<n>`: who has read the log up to there still gets it.
local log, rev, count, most = KEYS[1], ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])

local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
if last then
  count = count + tonumber(last[2][4])
  local last_rev = string.match(last[1], '^%d+')
  if tonumber(last_rev) > tonumber(rev) then rev = last_rev end
end
local id = rev .. '-*'
redis.call('XADD', log, id, 'e', ARGV[2], 'c', count)

-- An entry is of no use once more than `most` rows have changed since it.
while true do
  local oldest = redis.call('XRANGE', log, '-', '+', 'COUNT', 2)
  if #oldest < 2 or count - tonumber(oldest[1][2][4]) <= most then break end
  redis.call('XTRIM', log, 'MINID', oldest[2][1])
end
redis.call('EXPIRE', log, ARGV[5])
redis.call('PUBLISH', ARGV[6], ARGV[7])
return 1
