-- Admits a try at a password or code, or says how long it has to wait.
--
-- KEYS[1]  the note of a refusal, so that a flood is logged once (used where ARGV[1] is not 0)
-- KEYS[2…] two keys a gate: the gate, and the note that exempts from it (used where ARGV says so)
-- ARGV[1]  seconds for which the refusal is noted; 0: it is not
-- ARGV[2…] three values a gate: ms between two tries, tries at once, 1 where a note may exempt
--
-- A gate: when (Unix ms) it is as good as new. Each try puts that off by one interval (the generic
-- cell rate algorithm); the key runs out by then. Keys: accounts/sessions/keys.py.
--
-- Either all gates are charged or, where one refuses, none is.
--
-- Returns: ms to wait (0: admitted), the number of the gate that refuses (1…), 1 where no
-- refusal was noted; then for each gate 1 where it was charged.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local note, note_seconds = KEYS[1], tonumber(ARGV[1])
local wait, refusing = 0, 0
local charged, full_at = {}, {}
for n = 1, (#KEYS - 1) / 2 do
  local gate, exemption = KEYS[2 * n], KEYS[2 * n + 1]
  local interval, burst = tonumber(ARGV[3 * n - 1]), tonumber(ARGV[3 * n])
  local is_exempt = ARGV[3 * n + 1] == '1' and redis.call('EXISTS', exemption) == 1
  charged[n] = is_exempt and 0 or 1
  if not is_exempt then
    local full = math.max(tonumber(redis.call('GET', gate) or 0), now) + interval
    full_at[gate] = full
    if full - burst * interval - now > wait then
      wait, refusing = full - burst * interval - now, n
    end
  end
end
if wait > 0 then
  local first = note_seconds > 0 and redis.call('SET', note, 1, 'NX', 'EX', note_seconds)
  return { wait, refusing, first and 1 or 0 }
end
for gate, full in pairs(full_at) do
  redis.call('SET', gate, full, 'PX', full - now)
end
return { 0, 0, 0, unpack(charged) }
