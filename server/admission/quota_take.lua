-- Books all charges, or none when one is refused. Counts like quota_memory.py, by this server's clock.
-- KEYS: one for each charge.
-- ARGV: who takes the seats; how long seats last unless renewed, in ms; 1 to refuse nothing; slots of a window; then
-- for each charge its kind, limit, seconds and cost.
-- Gives the time, the number of the refused charge or 0, its wait in ms, and for each charge what is used and in how
-- many ms all of it is free.
local hold, lease, force, slot_count = ARGV[1], tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000

local charges = {}
for i, key in ipairs(KEYS) do
  local at = 4 + (i - 1) * 4
  local charge = {
    key = key, kind = ARGV[at + 1], limit = tonumber(ARGV[at + 2]), seconds = tonumber(ARGV[at + 3]),
    cost = tonumber(ARGV[at + 4]),
  }
  charges[i] = charge
  if charge.kind == 'window' then
    charge.slot_ms = charge.seconds * 1000 / slot_count
    charge.slot = math.floor(now / charge.slot_ms)
    charge.slots, charge.used = {}, 0
    local all = redis.call('HGETALL', key)
    for n = 1, #all, 2 do
      local slot, used = tonumber(all[n]), tonumber(all[n + 1])
      if slot <= charge.slot - slot_count - 1 then
        redis.call('HDEL', key, all[n])
      elseif used > 0 then
        charge.slots[#charge.slots + 1] = { slot, used }
        charge.used = charge.used + used
      end
    end
    table.sort(charge.slots, function(a, b) return a[1] < b[1] end)
  elseif charge.kind == 'share' then
    charge.full_at = math.max(tonumber(redis.call('GET', key) or 0), now)
  else
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    charge.used = redis.call('ZCARD', key)
  end
end

local function free_in(charge, slot)
  return (slot + slot_count + 1) * charge.slot_ms - now
end

local function wait(charge)
  if charge.kind == 'seats' then
    return charge.used < charge.limit and 0 or 1000
  elseif charge.kind == 'share' then
    return math.max(0, charge.full_at - now - 1000 + 0.000001)
  elseif charge.cost > charge.limit then
    return -1
  end
  local over = charge.used + charge.cost - charge.limit
  if over <= 0 then return 0 end
  for _, each in ipairs(charge.slots) do
    over = over - each[2]
    if over <= 0 then return free_in(charge, each[1]) end
  end
  return charge.seconds * 1000
end

local refused, refused_wait = 0, 0
for i, charge in ipairs(charges) do
  if charge.cost > 0 and not force then
    local needed = wait(charge)
    if needed ~= 0 then
      refused, refused_wait = i, needed
      break
    end
  end
end

local answer = { string.format('%.3f', now), refused, math.ceil(refused_wait) }
for _, charge in ipairs(charges) do
  local booked = refused == 0 and charge.cost > 0
  local reset = 0
  if charge.kind == 'window' then
    local newest = #charge.slots > 0 and charge.slots[#charge.slots][1]
    if booked then
      redis.call('HINCRBY', charge.key, string.format('%d', charge.slot), charge.cost)
      redis.call('PEXPIRE', charge.key, math.ceil(charge.seconds * 1000 + 2 * charge.slot_ms))
      charge.used, newest = charge.used + charge.cost, charge.slot
    end
    if newest then reset = free_in(charge, newest) end
  elseif charge.kind == 'share' then
    if booked then
      charge.full_at = charge.full_at + charge.cost / charge.limit * 1000
      redis.call('SET', charge.key, string.format('%.3f', charge.full_at), 'PX', math.ceil(charge.full_at - now) + 1)
    end
    reset = charge.full_at - now
    charge.used = reset / 1000 * charge.limit
  elseif booked then
    redis.call('ZADD', charge.key, now + lease, hold)
    redis.call('PEXPIRE', charge.key, lease)
    charge.used = charge.used + 1
  end
  answer[#answer + 1] = math.ceil(charge.used)
  answer[#answer + 1] = math.ceil(reset)
end
return answer
