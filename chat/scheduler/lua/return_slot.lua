-- Gives back a slot that take_slot.lua took.
--
-- KEYS[1] the holder's slots   KEYS[2] in_use   ARGV[1] the holder   ARGV[2] id of the call
redis.call('SREM', KEYS[1], ARGV[2])
local count = redis.call('SCARD', KEYS[1])
if count > 0 then redis.call('HSET', KEYS[2], ARGV[1], count)
else redis.call('HDEL', KEYS[2], ARGV[1]) end
