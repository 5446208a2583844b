-- Admits a try at a password or code, or says how long it has to wait.
--
-- ARGV[1]  name under which a refusal is noted for a while, so that a flood is told of once (empty:
--          it is not)
-- ARGV[2]  for how many seconds
-- ARGV[3…] four values a gate: its name, ms between two tries, tries at once, and the name of
--          what exempts from it (empty: nothing does)
--
-- aily:login:<gate>   when (Unix ms) the gate is as good as new: each try puts it off by one
--                     interval (the generic cell rate algorithm). It runs out by then.
-- aily:login:<name>   is there: it exempts, or the refusal is noted
--
-- Either all gates are charged or, where one refuses, none is.
--
-- Returns: ms to wait (0: admitted), the number of the gate that refuses (1…), 1 where no
-- refusal was noted; then for each gate 1 where it was charged.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local wait, refusing = 0, 0
local charged, new = {}, {}
for i = 3, #ARGV, 4 do
  local n = (i + 1) / 4
  local interval, burst = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
  local exempt = ARGV[i + 3] ~= '' and redis.call('EXISTS', 'aily:login:' .. ARGV[i + 3]) == 1
  charged[n] = exempt and 0 or 1
  if not exempt then
    local full = math.max(tonumber(redis.call('GET', 'aily:login:' .. ARGV[i]) or 0), now) + interval
    new[ARGV[i]] = full
    if full - burst * interval - now > wait then
      wait, refusing = full - burst * interval - now, n
    end
  end
end
if wait > 0 then
  local first = ARGV[1] ~= '' and redis.call('SET', 'aily:login:' .. ARGV[1], 1, 'NX', 'EX', ARGV[2])
  return { wait, refusing, first and 1 or 0 }
end
for name, full in pairs(new) do
  redis.call('SET', 'aily:login:' .. name, full, 'PX', full - now)
end
return { 0, 0, 0, unpack(charged) }
