-- Undoes bookings in part or whole, as far as they still count.
-- KEYS: one for each charge. ARGV: who took the seats; when it was booked, in ms; slots of a window; then for each
-- charge its kind, limit, seconds and what is given back.
local hold, booked, slot_count = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
for i, key in ipairs(KEYS) do
  local at = 3 + (i - 1) * 4
  local kind, limit, seconds, cost = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  if kind == 'window' then
    local slot = string.format('%d', math.floor(booked / (seconds * 1000 / slot_count)))
    local used = tonumber(redis.call('HGET', key, slot) or 0)
    if used > 0 then redis.call('HSET', key, slot, math.max(0, used - cost)) end
  elseif kind == 'share' then
    local full_at = redis.call('GET', key)
    if full_at then
      redis.call('SET', key, string.format('%.3f', tonumber(full_at) - cost / limit * 1000), 'KEEPTTL')
    end
  else
    redis.call('ZREM', key, hold)
  end
end
