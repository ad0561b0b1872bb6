"""The operations in Redis, as Lua scripts: each is atomic, and the time is the server's.

Every script gets the prefix of all keys as ARGV[1], and the rest of its arguments after it; the keys are made here. So
they need one server, maybe with replicas, and not a Redis Cluster. Fractions travel as text, since Redis cuts numbers.
"""

from __future__ import annotations

from proxy.counting.leases import ALIVE_SECONDS
from proxy.counting.series import MOST_ADDRESSES
from proxy.counting.windows import PARTS
from sieve.shared import MOST_AMOUNT

_BEGIN = """
local prefix = ARGV[1]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local function text(number) return string.format('%.17g', number) end
local function expire(key, seconds) redis.call('PEXPIRE', key, math.max(1, math.ceil(seconds * 1000))) end
"""

_WINDOWS = (
    _BEGIN
    + f"local PARTS = {PARTS}\n"
    + """
local room, name, count, seconds = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local most = tonumber(ARGV[6])
local key, names = prefix .. 'w:' .. room .. ':' .. name, prefix .. 'wn:' .. room
local events, seen = {}, 0
local raw = redis.call('HGETALL', key)
for i = 1, #raw, 2 do
  if raw[i] == 'count' then count = tonumber(raw[i + 1])
  elseif raw[i] == 'seconds' then seconds = tonumber(raw[i + 1])
  elseif raw[i] == 'at' then seen = tonumber(raw[i + 1])
  else events[tonumber(raw[i])] = tonumber(raw[i + 1]) end
end
if #raw == 0 then
  if count <= 0 or seconds <= 0 then return false end
  redis.call('HSET', key, 'count', count, 'seconds', text(seconds))
end
now = math.max(now, seen)
local part = seconds / PARTS
local index = math.floor(now / part)
local function total(at)
  local sum = 0
  for each, number in pairs(events) do
    if each >= at - PARTS and each <= at then sum = sum + number end
  end
  return sum
end
local function free()
  local first = index
  for each in pairs(events) do first = math.max(first, each) end
  local candidates = {first}
  for each in pairs(events) do
    if each + PARTS + 1 >= first then candidates[#candidates + 1] = each + PARTS + 1 end
  end
  table.sort(candidates)
  for _, each in ipairs(candidates) do
    if total(each) < count then return each end
  end
  return first
end
local function put(at, number)
  events[at] = number
  if number > 0 then redis.call('HSET', key, at, number) else redis.call('HDEL', key, at) end
end
local function finish(used)
  for each in pairs(events) do
    if each < index - PARTS then redis.call('HDEL', key, each) end
  end
  redis.call('HSET', key, 'at', text(now))
  expire(key, used - now + seconds + 1)
  redis.call('ZADD', names, text(now), name)
  expire(names, 86400)
  while redis.call('ZCARD', names) > most do
    redis.call('DEL', prefix .. 'w:' .. room .. ':' .. redis.call('ZPOPMIN', names)[1])
  end
end
"""
)

WINDOW = (
    _WINDOWS
    + """
local change, within = tonumber(ARGV[7]), ARGV[8] == '1'
local allowed = true
if within and change > 0 then
  allowed = total(index) + change <= count
  for each in pairs(events) do
    if each > index and each <= index + PARTS and total(each) + change > count then allowed = false end
  end
end
if allowed and change > 0 then put(index, (events[index] or 0) + change) end
if change < 0 then
  local order = {}
  for each in pairs(events) do
    if each <= index then order[#order + 1] = each end
  end
  table.sort(order, function(a, b) return a > b end)
  for _, each in ipairs(order) do
    local taken = math.min(events[each], -change)
    if taken > 0 then put(each, events[each] - taken) end
    change = change + taken
  end
end
local last = now
for each in pairs(events) do last = math.max(last, each * part) end
finish(last)
local sum, wait = total(index), 0
if sum >= count then wait = math.max(0, free() * part - now) end
return {allowed and 1 or 0, sum, text(wait), count, text(now)}
"""
)

RESERVE = (
    _WINDOWS
    + """
local at = free()
local wait = at > index and math.max(0, at * part - now) or 0
local allowed = wait <= tonumber(ARGV[7])
if allowed then put(at, (events[at] or 0) + 1) end
local last = now
for each in pairs(events) do last = math.max(last, each * part) end
finish(last)
return {allowed and 1 or 0, total(index), text(wait), count, text(now)}
"""
)

GAUGE = (
    _BEGIN
    + """
local room, name, change, most, lives = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local about, values, times = prefix .. 'gd:' .. room, prefix .. 'g:' .. room, prefix .. 'gt:' .. room
local known = redis.call('HMGET', about, 'most', 'lives')
if known[1] then
  most, lives = tonumber(known[1]), tonumber(known[2])
elseif most > 0 then
  redis.call('HSET', about, 'most', most, 'lives', text(lives))
else
  return false
end
if lives > 0 then
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', times, '-inf', '(' .. text(now - lives))) do
    redis.call('HDEL', values, each)
    redis.call('ZREM', times, each)
  end
end
if change == 0 then return tonumber(redis.call('HGET', values, name) or '0') end
if redis.call('HEXISTS', values, name) == 0 and redis.call('HLEN', values) >= most then
  redis.call('HDEL', values, redis.call('ZPOPMIN', times)[1])
end
redis.call('ZADD', times, text(now), name)
local value = redis.call('HINCRBY', values, name, change)
if lives > 0 then
  for _, each in ipairs({values, times}) do expire(each, lives + 1) end
  expire(about, lives + 86400)
end
return value
"""
)

_SERIES = (
    _BEGIN
    + f"local MOST, TOP = {MOST_ADDRESSES}, {MOST_AMOUNT}\n"
    + """
local series, interval, number, address = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local base = prefix .. 's:' .. series .. ':' .. interval .. ',' .. number .. ':'
local masks = base .. 'masks'
local index = math.floor(now / interval)
local function network(whole, mask)
  local octets = math.floor(mask / 8)
  local found, rest = string.sub(whole, 1, octets), mask % 8
  if rest > 0 then
    local octet = string.byte(whole, octets + 1)
    found = found .. string.char(octet - octet % 2 ^ (8 - rest))
  end
  return 'n' .. string.char(#whole, mask) .. found
end
"""
)

ADD = (
    _SERIES
    + """
local key, amount = base .. index, tonumber(ARGV[6])
if redis.call('HEXISTS', key, 'a' .. address) == 0 and redis.call('HLEN', key) >= MOST then return 0 end
local held = tonumber(redis.call('HGET', key, 'a' .. address) or '0')
amount = math.max(-TOP - held, math.min(TOP - held, amount))
redis.call('HINCRBY', key, 'a' .. address, amount)
for _, each in ipairs(redis.call('SMEMBERS', masks)) do
  local octets, mask = string.byte(each, 1, 2)
  if octets == #address then redis.pcall('HINCRBY', key, network(address, mask), amount) end
end
expire(key, (index + number) * interval - now)
return 0
"""
)

SUM = (
    _SERIES
    + """
local mask, first, last, smooth = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), ARGV[9] == '1'
local field = 'a' .. address
if mask < 8 * #address then
  field = network(address, mask)
  if redis.call('SADD', masks, string.char(#address, mask)) == 1 then
    for each = 0, number - 1 do
      local key = base .. (index - each)
      local raw = redis.call('HGETALL', key)
      for i = 1, #raw, 2 do
        if string.sub(raw[i], 1, 1) == 'a' and #raw[i] == #address + 1 then
          redis.call('HINCRBY', key, network(string.sub(raw[i], 2), mask), raw[i + 1])
        end
      end
    end
  end
  expire(masks, number * interval + 86400)
end
local function at(window) return tonumber(redis.call('HGET', base .. (index - window), field) or '0') end
if smooth then
  local passed = math.min(1, math.max(0, now - index * interval) / interval)
  return math.max(-TOP, math.min(TOP, math.floor(at(0) + at(1) * (1 - passed))))
end
local sum = 0
for each = first, math.min(last, number - 1) do sum = sum + at(each) end
return math.max(-TOP, math.min(TOP, sum))
"""
)

FORGET = (
    _SERIES
    + """
local gone = 0
for each = 0, number - 1 do
  local key = base .. (index - each)
  local amount = tonumber(redis.call('HGET', key, 'a' .. address) or '0')
  gone = gone + redis.call('HDEL', key, 'a' .. address)
  for _, known in ipairs(redis.call('SMEMBERS', masks)) do
    local octets, mask = string.byte(known, 1, 2)
    if octets == #address and amount ~= 0 then redis.call('HINCRBY', key, network(address, mask), -amount) end
  end
end
return gone
"""
)

_LEASES = (
    _BEGIN
    + f"local ALIVE = {ALIVE_SECONDS}\n"
    + """
local owner = ARGV[2]
local lives, held = prefix .. 'lo:' .. owner, prefix .. 'lh:' .. owner
local function places(key)
  local sum, dead = 0, {}
  local raw = redis.call('HGETALL', key)
  for i = 1, #raw, 2 do
    if raw[i] == owner or redis.call('EXISTS', prefix .. 'lo:' .. raw[i]) == 1 then
      sum = sum + tonumber(raw[i + 1])
    else
      redis.call('HDEL', key, raw[i])
    end
  end
  return sum
end
local function change(name, number)
  local key = prefix .. 'l:' .. name
  if redis.call('HINCRBY', key, owner, number) > 0 then
    redis.call('SADD', held, name)
    expire(key, 86400)
    expire(held, 86400)
  else
    redis.call('HDEL', key, owner)
    redis.call('SREM', held, name)
  end
end
local function begin()
  local known = redis.call('EXISTS', lives)
  redis.call('SET', lives, '1', 'PX', ALIVE * 1000)
  if known == 1 then return 1 end
  for _, name in ipairs(redis.call('SMEMBERS', held)) do redis.call('HDEL', prefix .. 'l:' .. name, owner) end
  redis.call('DEL', held)
  return 0
end
"""
)

LEASE = (
    _LEASES
    + """
begin()
local full, totals = -1, {}
for i = 3, #ARGV, 2 do
  local sum, most = places(prefix .. 'l:' .. ARGV[i]), tonumber(ARGV[i + 1])
  totals[#totals + 1] = sum
  if full < 0 and most > 0 and sum >= most then full = #totals - 1 end
end
if full < 0 then
  for i = 3, #ARGV, 2 do
    change(ARGV[i], 1)
    totals[(i - 1) / 2] = totals[(i - 1) / 2] + 1
  end
end
return {full, totals}
"""
)

RETURN = (
    _LEASES
    + """
for i = 3, #ARGV do
  if tonumber(redis.call('HGET', prefix .. 'l:' .. ARGV[i], owner) or '0') > 0 then change(ARGV[i], -1) end
end
return 0
"""
)

HOLD = (
    _LEASES
    + """
local known = begin()
if ARGV[3] == '1' then
  for _, name in ipairs(redis.call('SMEMBERS', held)) do redis.call('HDEL', prefix .. 'l:' .. name, owner) end
  redis.call('DEL', held)
  for i = 4, #ARGV, 2 do change(ARGV[i], tonumber(ARGV[i + 1])) end
end
return known
"""
)

PLACES = _LEASES + "return places(prefix .. 'l:' .. ARGV[3])\n"

_GREYLIST = (
    _BEGIN
    + """
local room = ARGV[2]
local function messages(client)
  return tonumber(redis.call('GET', prefix .. 'yc:' .. room .. ':' .. client) or '0')
end
local function keep(client, number, life)
  redis.call('SET', prefix .. 'yc:' .. room .. ':' .. client, number, 'PX', math.max(1, math.ceil(life * 1000)))
end
"""
)

GREYLIST = (
    _GREYLIST
    + """
local key, delay, window, life = prefix .. 'y:' .. room .. ':' .. ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]),
  tonumber(ARGV[6])
local client, enough, look = ARGV[7], tonumber(ARGV[8]), ARGV[9] == '1'
local delivered = client ~= '' and messages(client) or 0
if enough > 0 and delivered >= enough then
  if not look then keep(client, delivered, life) end
  return {1, '0', text(now), text(now), 0, delivered}
end
local held = redis.call('HMGET', key, 'first', 'last', 'passed')
local first, last, passed = tonumber(held[1] or now), tonumber(held[2] or now), tonumber(held[3] or '0')
local wait = passed > 0 and 0 or math.max(0, first + delay - now)
if passed == 0 and (not held[1] or wait > 0) then
  if not look then
    redis.call('HSET', key, 'first', text(first), 'last', text(now), 'passed', 0)
    expire(key, first + window - now)
  end
  if wait <= 0 then wait = delay end
  return {0, text(wait), text(first), text(last), 0, delivered}
end
if not look then
  redis.call('HSET', key, 'first', text(first), 'last', text(now), 'passed', passed + 1)
  expire(key, life)
end
return {1, '0', text(first), text(last), passed + 1, delivered}
"""
)

DELIVERED = (
    _GREYLIST
    + """
local number = math.max(0, messages(ARGV[3]) + tonumber(ARGV[4]))
if ARGV[4] ~= '0' then keep(ARGV[3], number, tonumber(ARGV[5])) end
return number
"""
)
