-- Makes seats of one set last longer. KEYS: the set. ARGV: the lease in ms, then the holds.
local time = redis.call('TIME')
local lease = tonumber(ARGV[1])
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000
for i = 2, #ARGV do
  redis.call('ZADD', KEYS[1], 'XX', now + lease, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], lease)
