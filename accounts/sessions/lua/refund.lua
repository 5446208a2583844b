-- Gives back what a try was charged: it was right, or it was never judged.
--
-- KEYS[1]  the note that exempts from now on (used where ARGV[1] is not 0)
-- KEYS[2…] the gates
-- ARGV[1]  seconds for which the note exempts; 0: nothing new does
-- ARGV[2…] of each gate: ms between two tries
--
-- Keys: accounts/sessions/keys.py.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for i = 2, #KEYS do
  local gate = KEYS[i]
  local full = tonumber(redis.call('GET', gate) or 0) - tonumber(ARGV[i])
  if full <= now then
    redis.call('DEL', gate)
  else
    redis.call('SET', gate, full, 'PX', full - now)
  end
end
if tonumber(ARGV[1]) > 0 then
  redis.call('SET', KEYS[1], 1, 'EX', ARGV[1])
end
