-- Appends events of one task to its log and publishes their notices.
--
-- KEYS[1]  the log, a stream whose entries have the one field `e`
-- ARGV[1]  the channel of the task's text
-- ARGV[2…] six values an event: event id (`<attempt>-<n>`), frame, what precedes the frame in the
--          event's notice (chat/eventlog/notices.py), the notice's channel,
--          1 to create the log if it does not exist, -1 to publish without appending,
--          seconds until the log expires (0: as it is)
--
-- Redis refuses an id that is not above the stream's last one: that keeps out the worker of an older
-- attempt, and makes it harmless to send an append again. NOMKSTREAM fails where Redis lost the log. A
-- replica that became the master may lack the log's end: an event that does not directly follow the
-- last one counts as an append to a lost log, too.
--
-- Returns how many are subscribed to the task's text, then for each event:
-- 1 appended, 0 it was appended before, -1 refused, -2 the log does not exist.
local log, text_channel = KEYS[1], ARGV[1]

local function leaves_gap(id)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if not last then return false end
  local last_attempt, last_n = string.match(last[1], '(%d+)-(%d+)')
  local attempt, n = string.match(id, '(%d+)-(%d+)')
  last_attempt, last_n, attempt, n = tonumber(last_attempt), tonumber(last_n), tonumber(attempt), tonumber(n)
  return attempt > last_attempt or attempt == last_attempt and n > last_n + 1
end

local out = {redis.call('PUBSUB', 'NUMSUB', text_channel)[2]}
for i = 2, #ARGV, 6 do
  local id, frame, header, channel, create, expires =
    ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 5])
  local reply
  if create == '-1' then
    reply = id
  elseif create == '1' then
    reply = redis.pcall('XADD', log, id, 'e', frame)
  elseif not leaves_gap(id) then
    reply = redis.pcall('XADD', log, 'NOMKSTREAM', id, 'e', frame)
  end
  if not reply then
    out[#out + 1] = -2
  elseif type(reply) == 'table' and reply.err then
    -- No memory left, or no stream: that says nothing of another attempt.
    if not string.find(reply.err, 'equal or smaller', 1, true) then return reply end
    -- When a batch is sent again, only its last event can be the log's last one.
    out[#out + 1] = #redis.call('XRANGE', log, id, id) > 0 and 0 or -1
  else
    if expires > 0 then redis.call('EXPIRE', log, expires) end
    local notice = header .. frame
    redis.call('PUBLISH', channel, notice)
    out[#out + 1] = 1
  end
end
return out
