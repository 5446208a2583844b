-- Appends events to task logs and rings whoever follows them.
--
-- ARGV[1]  `@` and when the oldest of it was written, in Unix milliseconds; or ''
-- ARGV[2…] six values an event: task id, event id (`<attempt>-<n>`), frame, channel,
--          1 to create the log when it is missing, -1 to ring without a log, seconds the log
--          is kept (0: as it is)
--
-- aily:log:<task>  stream, entries with the one field `e`
--
-- Redis refuses an id that is not above the stream's top: that fences off the worker of an older
-- attempt, and makes a repeated append harmless. NOMKSTREAM tells when Redis lost the log. A replica
-- that took over may lack the end of it: an event that does not follow its top is missing it, too.
--
-- Returns a list of: 2 appended and heard by somebody (an event that creates the log: somebody listens
-- to its text), 1 appended, 0 was there already, -1 refused,
-- -2 the log is missing.
local function leaves_gap(key, id)
  local top = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  if not top then return false end
  local top_attempt, top_n = string.match(top[1], '(%d+)-(%d+)')
  local attempt, n = string.match(id, '(%d+)-(%d+)')
  top_attempt, top_n, attempt, n = tonumber(top_attempt), tonumber(top_n), tonumber(attempt), tonumber(n)
  return attempt > top_attempt or attempt == top_attempt and n > top_n + 1
end

local out = {}
for i = 2, #ARGV, 6 do
  local task, id, frame, channel, create, keep =
    ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], tonumber(ARGV[i + 5])
  local key = 'aily:log:' .. task
  local reply
  if create == '-1' then
    reply = id
  elseif create == '1' then
    reply = redis.pcall('XADD', key, id, 'e', frame)
  elseif not leaves_gap(key, id) then
    reply = redis.pcall('XADD', key, 'NOMKSTREAM', id, 'e', frame)
  end
  if not reply then
    out[#out + 1] = -2
  elseif type(reply) == 'table' and reply.err then
    -- Of a batch sent again, only the last event is still the stream's top.
    out[#out + 1] = #redis.call('XRANGE', key, id, id) > 0 and 0 or -1
  else
    if keep > 0 then redis.call('EXPIRE', key, keep) end
    local listeners = redis.call('PUBLISH', channel, task .. id .. ARGV[1] .. ' ' .. frame)
    if create == '1' then listeners = redis.call('PUBSUB', 'NUMSUB', 'aily:text:' .. task)[2] end
    out[#out + 1] = listeners > 0 and 2 or 1
  end
end
return out
