-- Appends events of one task to its log and publishes their notices.
--
-- KEYS[1]  the log, a stream whose entries have the one field `e`
-- ARGV[1]  the channel of the task's text, with the task's id in braces
-- ARGV[2]  `@` and when the oldest was written, for the notices (chat/eventlog/notices.py); or ''
-- ARGV[3…] three values an event: event id (`<attempt>-<n>`), frame, and '' or JSON with what is not
--          as for most events:
--          channel (of the notice; else that of the text), follower (the task that the notice is
--          for; else this one: the event is published without being appended), create (whether it
--          creates the log if that does not exist), expires (seconds until the log does)
--
-- Redis refuses an id that is not above the stream's last one: that keeps out the worker of an older
-- attempt, and makes it harmless to send an append again. NOMKSTREAM fails where Redis lost the log. A
-- replica that became the master may lack the log's end: an event that does not directly follow the
-- last one counts as an append to a lost log, too.
--
-- Returns how many are subscribed to the task's text, then for each event:
-- 1 appended, 0 it was appended before, -1 refused, -2 the log does not exist.
local log, text_channel, written_at = KEYS[1], ARGV[1], ARGV[2]
local task = string.match(text_channel, '{(.*)}')

local function parts(id)
  local attempt, n = string.match(id, '(%d+)-(%d+)')
  return tonumber(attempt), tonumber(n)
end

local function leaves_gap(id)
  local last = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if not last then return false end
  local attempt, n = parts(id)
  -- The common case, for a third of what follows.
  if last[1] == attempt .. '-' .. n - 1 then return false end
  local last_attempt, last_n = parts(last[1])
  return attempt > last_attempt or attempt == last_attempt and n > last_n + 1
end

local out, listeners = {0}, nil
local usual = {}
for i = 3, #ARGV, 3 do
  local id, frame = ARGV[i], ARGV[i + 1]
  local options = ARGV[i + 2] == '' and usual or cjson.decode(ARGV[i + 2])
  local reply
  if options.follower then
    reply = id
  elseif options.create then
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
    if options.expires then redis.call('EXPIRE', log, options.expires) end
    local notice = (options.follower or task) .. id .. written_at .. ' ' .. frame
    local subscribed = redis.call('PUBLISH', options.channel or text_channel, notice)
    if not options.channel then listeners = subscribed end
    out[#out + 1] = 1
  end
end
out[1] = listeners or redis.call('PUBSUB', 'NUMSUB', text_channel)[2]
return out
