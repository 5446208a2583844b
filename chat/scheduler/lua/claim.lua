-- Gives back the slots of ended calls and takes the next tasks for the deployments of a model, in
-- one step, so that capacity is neither exceeded nor idle in between. Also renews the worker, as
-- renew.lua does.
--
-- KEYS[1] ready     KEYS[2] virtual_times   KEYS[3] stats      KEYS[4] rung    KEYS[5] workers
-- KEYS[6] known     KEYS[7] counting        KEYS[8] tried      KEYS[9] sizes
-- then for each deployment: the worker's slots, its slots of batch tasks, in_use, limit, breaker,
-- failures, unreachable, failing_owners, failing_lanes, successes, served, minute, charges, learnt
--
-- ARGV[1] worker id            ARGV[2] seconds the worker's slots last
-- ARGV[3] tasks wanted         ARGV[4] lane width
-- ARGV[5] milliseconds for which nothing is taken after Redis was found empty
-- ARGV[6] seconds for which successes count; see failed.lua
-- ARGV[7] seconds between two probes by fresh tasks
-- ARGV[8] seconds that a pause lasts at the most
-- ARGV[9] the task that is to find out whether a deployment is back; '': none
-- ARGV[10] of it: fresh (no task of its owner in its lane has failed), healthy (it has not), failed
-- ARGV[11] which deployment it probes, from 1
-- ARGV[12] share of a cap that tasks of lane batch may hold
-- ARGV[13] milliseconds of a bucket of the minute
-- ARGV[14] the channel on which this worker is rung alone   ARGV[15] 1: it has room to spare for that
-- ARGV[16] how many deployments follow
-- then for each deployment: its name, cap, weight (0: takes nothing), requests and tokens a minute
-- (0: no limit), mean seconds of the ended calls ('': unknown), how many of them succeeded, their
-- owners joined by commas, how many slots are given back, the ids of their tasks, how many of these
-- calls have a number of tokens, and each id with it (-1: the provider was not called)
--
-- What each key holds: chat/scheduler/keys.py. The breaker's fields are failed.lua's, and fresh_at:
-- when a fresh task may probe although the breaker is open. In `stats`, blocked_by is '', pause,
-- breaker or limit (a minute's requests or tokens); blocked_until is Redis time, '' where that
-- depends on a probe that runs. A pool is blocked while all its deployments are.
--
-- Returns {left in the ready set, 1 while slots are being counted, seconds until a limit of a minute
-- has room again ('': none keeps tasks waiting), the task that probes without being asked ('': none),
-- {task id, the deployments that it has tried, …}, and for each deployment
-- {which task may probe (0: none, 1: a fresh one, 2: any), 1 while it may be called, task id, …}}.
local ready, virtual_times, stats, workers = KEYS[1], KEYS[2], KEYS[3], KEYS[5]
local tried_key, sizes_key = KEYS[8], KEYS[9]
local worker, slot_seconds, wanted, width = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local success_seconds, max_pause = tonumber(ARGV[6]), tonumber(ARGV[8])
local probe, probe_kind, probed = ARGV[9], ARGV[10], tonumber(ARGV[11])
local batch_share, bucket_ms = tonumber(ARGV[12]), tonumber(ARGV[13])
local own_doorbell, may_be_preferred, deployment_count = ARGV[14], ARGV[15] == '1', tonumber(ARGV[16])
local BATCH = 2
-- A minute and up to half a second: what is counted now may reach the provider a little later.
local BUCKETS = 242
-- Tasks that wait for a deployment that they have not tried, and are passed over for others.
local MAX_SKIPPED = 100
-- Tokens that a task may use of which nothing is known, before any call has ended.
local UNKNOWN_SIZE = 1000
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
redis.call('ZADD', workers, now + slot_seconds, worker)
redis.call('DEL', KEYS[4])
-- Calls go on at the providers whose slots Redis has lost. How much room there is, is known again
-- once each worker has restored the slots of its calls.
if redis.call('SET', KEYS[6], 1, 'NX') then redis.call('SET', KEYS[7], 1, 'PX', ARGV[5]) end
local is_counting = redis.call('EXISTS', KEYS[7]) == 1

-- --- Arguments -----------------------------------------------------------------------------------
local position = 16
local function argument()
  position = position + 1
  return ARGV[position]
end
local function arguments(count)
  local found = {}
  for i = 1, count do found[i] = argument() end
  return found
end

local function read_deployment(index)
  local k = 9 + (index - 1) * 14
  local d = {
    index = index, slots = KEYS[k + 1], batch_slots = KEYS[k + 2], in_use_by_worker = KEYS[k + 3],
    limit_key = KEYS[k + 4], breaker = KEYS[k + 5], failures = KEYS[k + 6],
    unreachable = KEYS[k + 7], failing_owners = KEYS[k + 8], failing_lanes = KEYS[k + 9],
    successes = KEYS[k + 10], served = KEYS[k + 11], minute = KEYS[k + 12],
    charges = KEYS[k + 13], learnt = KEYS[k + 14], blocked_by = '', blocked_until = '',
    may_probe = 0, taken = {}, batch_taken = {},
  }
  d.name, d.cap, d.weight = argument(), tonumber(argument()), tonumber(argument())
  d.max_requests, d.max_tokens = tonumber(argument()), tonumber(argument())
  d.mean, d.succeeded, d.owners = argument(), tonumber(argument()), argument()
  d.released = arguments(tonumber(argument()))
  d.used = arguments(2 * tonumber(argument()))
  return d
end

-- Calls a command that takes any number of values. Lua unpacks some thousands at the most.
local function call_with_all(command, key, values)
  local changed = 0
  for i = 1, #values, 1000 do
    changed = changed + redis.call(command, key, unpack(values, i, math.min(i + 999, #values)))
  end
  return changed
end

-- --- What ended calls say ------------------------------------------------------------------------
local function release(d)
  call_with_all('SREM', d.slots, d.released)
  d.own_batch = redis.call('SCARD', d.batch_slots)
  if d.own_batch > 0 then
    d.own_batch = d.own_batch - call_with_all('SREM', d.batch_slots, d.released)
  end
  if d.mean ~= '' then
    local mean = tonumber(redis.call('HGET', stats, 'seconds') or d.mean)
    redis.call('HSET', stats, 'seconds', mean * 0.9 + tonumber(d.mean) * 0.1)
  end
end

-- The limit grows by one for each `limit` calls that succeeded, until the cap is reached again;
-- faster where that would take for ever: a thousand successes bring back half of any cap.
local function grow_limit(d)
  local state = redis.call('HMGET', d.limit_key, 'limit', 'paused_until')
  local limit, paused_until = tonumber(state[1]), tonumber(state[2] or 0)
  if paused_until > now + max_pause + 1 then
    -- From before the setting was lowered.
    paused_until = now + max_pause
    redis.call('HSET', d.limit_key, 'paused_until', paused_until)
    redis.call('EXPIRE', d.limit_key, math.ceil(max_pause) + 3600)
  end
  d.is_paused = paused_until > now
  if d.is_paused then d.blocked_by, d.blocked_until = 'pause', paused_until end
  if limit and d.succeeded > 0 then
    limit = limit + d.succeeded * math.max(1 / limit, d.cap / 2000)
    if limit < d.cap then redis.call('HSET', d.limit_key, 'limit', limit)
    elseif not d.is_paused then redis.call('DEL', d.limit_key) end
  end
  d.allowed = math.min(d.cap, math.floor(limit or d.cap))
end

local function note_served(d)
  local members = {}
  for owner in string.gmatch(d.owners, '[^,]+') do
    members[#members + 1], members[#members + 2] = now, owner
  end
  if redis.call('ZADD', d.served, unpack(members)) > 0 then
    redis.call('ZREMRANGEBYSCORE', d.served, '-inf', now - success_seconds)
  end
  redis.call('EXPIRE', d.served, success_seconds)
end

local function count_successes(d)
  d.open = redis.call('HMGET', d.breaker, 'open_until', 'probe_until', 'probe', 'fresh_at')
  if d.succeeded == 0 then return end
  local failing = redis.call('ZCARD', d.failures)
  local is_better = failing > 0 and redis.call('INCRBY', d.successes, d.succeeded) >= failing
  if d.open[1] or is_better then
    -- The provider answers, or does so half of the time: failures until now are forgotten.
    redis.call('DEL', d.breaker, d.failures, d.unreachable, d.failing_owners, d.failing_lanes,
      d.successes)
    d.open = {}
  elseif failing > 0 then
    redis.call('EXPIRE', d.successes, success_seconds)
  end
  if d.owners ~= '' then note_served(d) end
end

-- --- Slots ---------------------------------------------------------------------------------------
local is_living = {}
for _, other in ipairs(redis.call('ZRANGEBYSCORE', workers, now, '+inf')) do is_living[other] = true end

-- Of its own slots a worker counts those that it has; of the others the last count counts. A count is
-- '<slots>' or '<slots>:<slots of batch tasks>'.
local function count_slots(d)
  d.own = redis.call('SCARD', d.slots)
  d.in_use, d.batch, d.counted = d.own, d.own_batch, ''
  local counts = redis.call('HGETALL', d.in_use_by_worker)
  for i = 1, #counts, 2 do
    local other, count = counts[i], counts[i + 1]
    if other == worker then d.counted = count
    elseif is_living[other] then
      local all, batch = tonumber(count), 0
      if not all then
        local colon = string.find(count, ':', 1, true)
        all, batch = tonumber(string.sub(count, 1, colon - 1)), tonumber(string.sub(count, colon + 1))
      end
      d.in_use, d.batch = d.in_use + all, d.batch + batch
    else redis.call('HDEL', d.in_use_by_worker, other) end
  end
  d.max_batch = math.max(1, math.floor(d.cap * batch_share))
  d.room = d.allowed - d.in_use
  if d.is_paused or is_counting or d.weight == 0 then d.room = 0 end
end

-- --- The minute ----------------------------------------------------------------------------------
-- A ring of buckets: r<n> and t<n> are the requests and tokens of a bucket, `requests` and `tokens`
-- their sums, `at` the newest bucket.
local function open_minute(d)
  d.is_limited_by_minute = d.max_requests > 0 or d.max_tokens > 0
  if not d.is_limited_by_minute then return end
  local state = redis.call('HMGET', d.minute, 'at', 'requests', 'tokens')
  local bucket = math.floor(now * 1000 / bucket_ms)
  local newest = tonumber(state[1] or bucket)
  d.bucket, d.requests, d.tokens = math.max(bucket, newest), tonumber(state[2] or 0), tonumber(state[3] or 0)
  d.new_requests, d.new_tokens = 0, 0
  if d.bucket - newest >= BUCKETS then
    redis.call('DEL', d.minute)
    d.requests, d.tokens = 0, 0
  elseif d.bucket > newest then
    local fields = {}
    for b = newest + 1, d.bucket do
      fields[#fields + 1], fields[#fields + 2] = 'r' .. b % BUCKETS, 't' .. b % BUCKETS
    end
    for i, count in ipairs(redis.call('HMGET', d.minute, unpack(fields))) do
      if count and i % 2 == 1 then d.requests = d.requests - count end
      if count and i % 2 == 0 then d.tokens = d.tokens - count end
    end
    redis.call('HDEL', d.minute, unpack(fields))
  end
  local learnt = redis.call('HMGET', d.learnt, 'calls', 'estimated', 'used')
  d.calls, d.estimated, d.really_used = tonumber(learnt[1] or 0), tonumber(learnt[2] or 0), tonumber(learnt[3] or 0)
end

local function add_to_bucket(d, slot, requests, tokens)
  local requests_field, tokens_field = 'r' .. slot, 't' .. slot
  if requests ~= 0 then redis.call('HINCRBY', d.minute, requests_field, requests) end
  if tokens ~= 0 then redis.call('HINCRBY', d.minute, tokens_field, tokens) end
end

-- Takes an ended call's difference to its estimate into the bucket in which it began.
local function correct_minute(d)
  if not d.is_limited_by_minute or #d.released == 0 then return end
  for i = 1, #d.used, 2 do
    local charge = redis.call('HGET', d.charges, d.used[i])
    if charge then
      local bucket, charged, size = string.match(charge, '(%d+):(%d+):(%d+)')
      local used = tonumber(d.used[i + 1])
      local change, slot = math.max(used, 0) - charged, bucket % BUCKETS
      if d.bucket - bucket < BUCKETS then
        add_to_bucket(d, slot, used < 0 and -1 or 0, change)
        d.tokens = d.tokens + change
        if used < 0 then d.requests = d.requests - 1 end
      end
      if used >= 0 then
        d.calls, d.estimated, d.really_used = d.calls + 1, d.estimated + size, d.really_used + used
      end
    end
  end
  if d.calls > 100 then
    d.calls, d.estimated, d.really_used = d.calls / 2, d.estimated / 2, d.really_used / 2
  end
  if #d.used > 0 then
    redis.call('HSET', d.learnt, 'calls', d.calls, 'estimated', d.estimated, 'used', d.really_used)
    redis.call('EXPIRE', d.learnt, 86400)
  end
  call_with_all('HDEL', d.charges, d.released)
end

-- The tokens that a task may use, if they are known; else the mean of those of ended calls.
local function size_at(d, size)
  return size or (d.calls > 0 and math.ceil(d.estimated / d.calls) or UNKNOWN_SIZE)
end

-- The tokens that a task will use that may use so many, as far as ended calls tell.
local function expected_tokens(d, size)
  if d.max_tokens == 0 then return 0 end
  size = size_at(d, size)
  local expected = size
  if d.estimated > 0 then expected = size * d.really_used / d.estimated end
  return math.ceil(math.min(expected, d.max_tokens))
end

local function has_minute_room(d, size)
  if not d.is_limited_by_minute then return true end
  local fits = (d.max_requests == 0 or d.requests < d.max_requests)
    and (d.max_tokens == 0 or d.tokens + expected_tokens(d, size) <= d.max_tokens)
  if not fits then d.refused_size = d.refused_size or size_at(d, size) end
  return fits
end

local function charge_minute(d, id, size)
  if not d.is_limited_by_minute then return end
  local tokens = expected_tokens(d, size)
  d.requests, d.new_requests = d.requests + 1, d.new_requests + 1
  d.tokens, d.new_tokens = d.tokens + tokens, d.new_tokens + tokens
  redis.call('HSET', d.charges, id, string.format('%d:%d:%d', d.bucket, tokens, size_at(d, size)))
end

-- When the oldest calls are a minute ago that keep a task of the refused size from fitting.
local function minute_has_room_at(d)
  local fields = {}
  for b = d.bucket + 1, d.bucket + BUCKETS do
    fields[#fields + 1], fields[#fields + 2] = 'r' .. b % BUCKETS, 't' .. b % BUCKETS
  end
  local counts = redis.call('HMGET', d.minute, unpack(fields))
  local requests, tokens = d.requests, d.tokens + expected_tokens(d, d.refused_size)
  for i = 1, BUCKETS do
    requests = requests - (counts[2 * i - 1] or 0)
    tokens = tokens - (counts[2 * i] or 0)
    if (d.max_requests == 0 or requests < d.max_requests)
        and (d.max_tokens == 0 or tokens <= d.max_tokens) then
      return (d.bucket + i) * bucket_ms / 1000
    end
  end
  return now + BUCKETS * bucket_ms / 1000
end

local function store_minute(d)
  if not d.is_limited_by_minute then return end
  if d.new_requests > 0 then
    add_to_bucket(d, d.bucket % BUCKETS, d.new_requests, d.new_tokens)
    redis.call('EXPIRE', d.charges, 86400)
  end
  redis.call('HSET', d.minute, 'at', d.bucket, 'requests', d.requests, 'tokens', d.tokens)
  redis.call('EXPIRE', d.minute, 120)
end

-- --- Taking --------------------------------------------------------------------------------------
local probing_task = ''
local virtual_now, gone, tries = {}, {}, {}

local function take(d, id, lane, size)
  d.taken[#d.taken + 1] = id
  if lane == BATCH then
    d.batch_taken[#d.batch_taken + 1] = id
    d.batch = d.batch + 1
  end
  d.in_use, d.room = d.in_use + 1, d.room - 1
  charge_minute(d, id, size)
  gone[#gone + 1] = id
end

local function start_probe(d, id, kind)
  d.probe_until = now + 60
  redis.call('HSET', d.breaker, 'probe_until', d.probe_until, 'probe', id, 'probe_kind', kind,
    'fresh_at', now + tonumber(ARGV[7]))
end

-- Open: nothing is taken by its turn. One call at a time may find out whether the provider is back
-- when the time has passed; a fresh one at any time, some seconds after the last that did, which may
-- be slow. Where other deployments answer, the next task finds out by its turn: if it fails, it goes
-- on to them.
local function open_breaker(d)
  if not d.open[1] then return end
  local open_until = tonumber(d.open[1])
  d.probe_until = tonumber(d.open[2] or 0)
  -- A probe that ended without a result (cancelled, or refused for its own fault) makes way.
  for _, id in ipairs(d.released) do
    if id == d.open[3] then
      redis.call('HDEL', d.breaker, 'probe', 'probe_until')
      d.probe_until = 0
    end
  end
  if d.room > 0 and wanted > 0 then
    if now >= math.max(open_until, d.probe_until) then d.may_probe = 2
    elseif now >= tonumber(d.open[4] or 0) then d.may_probe = 1 end
  end
  local is_allowed = d.may_probe == 2 or d.may_probe == 1 and probe_kind == 'fresh'
  if probe ~= '' and probed == d.index and is_allowed then
    local score = tonumber(redis.call('ZSCORE', ready, probe) or -1)
    if score >= 0 then
      redis.call('ZREM', ready, probe)
      take(d, probe, math.floor(score / width), tonumber(redis.call('HGET', sizes_key, probe) or nil))
      d.may_probe = 0
      start_probe(d, probe, probe_kind)
      wanted = 0
    end
  end
  d.room = (deployment_count > 1 and d.may_probe == 2) and 1 or 0
  if not d.is_paused or open_until > d.blocked_until then
    d.blocked_by = 'breaker'
    if open_until > now then d.blocked_until = open_until
    elseif d.probe_until > now then d.blocked_until = ''
    else d.blocked_until = now end
  end
end

-- Of several deployments the one goes first of whose cap the least is in use, by weight and health.
local function usage(d)
  local share = (d.in_use + 1) / (d.allowed * d.weight)
  if not d.health then
    local failing = redis.call('ZCARD', d.failures)
    d.health = 1
    if failing > 0 then
      local successes = tonumber(redis.call('GET', d.successes) or 0)
      d.health = math.max(successes / (successes + failing), 0.05)
    end
  end
  return share / d.health
end

local function has_tried(tried, d) return string.find(tried, ',' .. d.name .. ',', 1, true) ~= nil end

local deployments = {}

-- The deployment that a task goes to. Without one: true if it only waits for a deployment that it has
-- not tried, so that others may go before it.
local function choose(lane, size, tried)
  local best, best_usage, last_resort, waits = nil, 0, nil, false
  for _, d in ipairs(deployments) do
    local has_room = d.room > 0 and (lane < BATCH or d.batch < d.max_batch) and has_minute_room(d, size)
    if tried ~= '' and has_tried(tried, d) then
      if has_room then last_resort = d end
    elseif has_room then
      -- One whose breaker has been open for its time is to be found out about.
      if deployment_count == 1 or d.may_probe == 2 then return d end
      local used = usage(d)
      if not best or used < best_usage then best, best_usage = d, used end
    elseif d.weight > 0 and d.blocked_by == '' and d.room <= 0 then waits = true end
  end
  if best then return best end
  if tried == '' then return nil, false end
  if waits then return nil, true end
  return last_resort, false
end

local has_tries = deployment_count > 1 and redis.call('EXISTS', tried_key) == 1
local has_sizes = false
for index = 1, deployment_count do
  local d = read_deployment(index)
  release(d)
  grow_limit(d)
  count_successes(d)
  count_slots(d)
  open_minute(d)
  correct_minute(d)
  open_breaker(d)
  has_sizes = has_sizes or d.max_tokens > 0
  deployments[index] = d
end

local function total_room()
  local room = 0
  for _, d in ipairs(deployments) do room = room + math.max(d.room, 0) end
  return room
end

-- Takes or puts back one task. False when what comes after it has to wait as well.
local function place(id, score, put_back)
  local lane = math.floor(score / width)
  local size = has_sizes and tonumber(redis.call('HGET', sizes_key, id) or nil) or nil
  local tried = has_tries and redis.call('HGET', tried_key, id) or ''
  local d, is_passed_over = choose(lane, size, tried)
  if not d then
    put_back[#put_back + 1], put_back[#put_back + 2] = score, id
    return is_passed_over and #put_back / 2 < MAX_SKIPPED
  end
  if tried ~= '' then tries[#tries + 1], tries[#tries + 2] = id, tried end
  take(d, id, lane, size)
  if d.may_probe == 2 and probing_task == '' then
    start_probe(d, id, tried == '' and 'healthy' or 'failed')
    d.may_probe, d.room, probing_task = 0, 0, id
  end
  virtual_now[lane] = score - lane * width
  wanted = wanted - 1
  return true
end

local put_back, goes_on = {}, true
while goes_on do
  local count = math.min(wanted, total_room())
  if count <= 0 then break end
  local popped = redis.call('ZPOPMIN', ready, count)
  for i = 1, #popped, 2 do
    if goes_on then goes_on = place(popped[i], tonumber(popped[i + 1]), put_back)
    else put_back[#put_back + 1], put_back[#put_back + 2] = popped[i + 1], popped[i] end
  end
  if #popped < 2 * count then break end
end
call_with_all('ZADD', ready, put_back)
for lane, virtual in pairs(virtual_now) do
  local lane_field = 'now:' .. lane
  redis.call('HSET', virtual_times, lane_field, virtual)
end
if has_sizes then call_with_all('HDEL', sizes_key, gone) end
if has_tries then call_with_all('HDEL', tried_key, gone) end

-- --- Storing -------------------------------------------------------------------------------------
local function store_slots(d)
  -- One less where the worker calls for a task already: the sweep may have put it back before it
  -- started.
  d.own = d.own + call_with_all('SADD', d.slots, d.taken)
  if #d.batch_taken > 0 then
    d.own_batch = d.own_batch + call_with_all('SADD', d.batch_slots, d.batch_taken)
    redis.call('EXPIRE', d.batch_slots, slot_seconds * 10)
  end
  local count = d.own_batch > 0 and d.own .. ':' .. d.own_batch or tostring(d.own)
  if count ~= d.counted and (d.own > 0 or d.counted ~= '') then
    if d.own > 0 then redis.call('HSET', d.in_use_by_worker, worker, count)
    else redis.call('HDEL', d.in_use_by_worker, worker) end
  end
  redis.call('EXPIRE', d.slots, slot_seconds * 10)
end

local left, in_use, allowed, held = redis.call('ZCARD', ready), 0, 0, 0
local is_blocked, blocked_by, blocked_until = true, '', ''
local has_room_at = nil
local out = {left, is_counting and 1 or 0, '', probing_task, tries}
for index, d in ipairs(deployments) do
  store_slots(d)
  store_minute(d)
  if d.refused_size and left > 0 and d.blocked_by == '' then
    d.blocked_by, d.blocked_until = 'limit', minute_has_room_at(d)
    has_room_at = math.min(has_room_at or d.blocked_until, d.blocked_until)
  end
  in_use = in_use + d.in_use
  if d.weight == 0 then held = held + d.allowed
  else
    allowed = allowed + d.allowed
    if d.blocked_by == '' then is_blocked = false
    elseif blocked_by == '' or blocked_until == ''
        or d.blocked_until ~= '' and d.blocked_until < blocked_until then
      -- The first that ends.
      blocked_by, blocked_until = d.blocked_by, d.blocked_until
    end
  end
  local is_usable = d.weight > 0 and (d.blocked_by == '' or d.blocked_by == 'limit')
  local reply = {d.may_probe, is_usable and 1 or 0}
  for i, id in ipairs(d.taken) do reply[2 + i] = id end
  out[5 + index] = reply
end
if not is_blocked then blocked_by, blocked_until = '', '' end
-- An empty set starts the next busy time with a clean slate, and keeps the virtual times few.
if left == 0 then redis.call('DEL', virtual_times, tried_key, sizes_key) end
if has_room_at then out[3] = tostring(math.max(has_room_at - now, 0)) end
-- While few tasks come, one worker takes them all: the cost of a claim, of a start and of an end is the
-- same for one task as for ten. Where some are left, all workers are to know.
local preferred = redis.call('HGET', stats, 'preferred')
if left > 0 or not may_be_preferred and preferred == own_doorbell then
  if preferred then redis.call('HDEL', stats, 'preferred') end
elseif may_be_preferred and #gone > 0 and preferred ~= own_doorbell then
  redis.call('HSET', stats, 'preferred', own_doorbell)
end
redis.call('HSET', stats, 'in_use', in_use, 'cap', allowed > 0 and allowed or held,
  'blocked_by', blocked_by, 'blocked_until', blocked_until)
return out
