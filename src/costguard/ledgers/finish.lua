-- End a hold: book what the call did cost, nothing, or, when its lease is over, all that was held. It never refuses.
-- ARGV: epoch and seq as last seen, prefix, id, the state to end in, actual, keep, seconds to remember it for,
-- and for a lease the instant it must be over at ('' for the server's own clock).
local epoch, seq, lost = history(ARGV[1], ARGV[2])
local id, to, actual, keep = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])

local function ended(kind, ...)
  -- Money that is spent is booked even when writes were lost; the client is told so in the same breath.
  return reply(kind, seq, epoch, lost and 1 or 0, ...)
end

local known = redis.call('HMGET', HOLD, 'state', 'amount', 'booked', 'legs')
local state, amount, booked = known[1], known[2], known[3]
if not state then
  if to == 'expired' then redis.call('ZREM', LEASES, id) end
  return ended('unknown')
end
if state ~= 'open' and to == 'expired' then return ended('nothing') end
if state == to then
  if to == 'settled' and booked ~= actual then return ended('conflict', state, booked) end
  return ended('granted', {})
end
if state == 'settled' or state == 'released' then return ended('conflict', state, booked) end

if to == 'expired' then
  local lease = redis.call('ZSCORE', LEASES, id)
  local now = ARGV[9] == '' and clock() or tonumber(ARGV[9])
  if lease and tonumber(lease) > now then return ended('nothing') end
  actual = amount
end
local legs = cjson.decode(known[4])
if not named(legs, ARGV[3]) then return ended('legs', known[4]) end
local rows = read_all(legs)

local added, crossings = tonumber(actual) - tonumber(booked), {}
local freed = (state ~= 'open' or amount == '0') and '0' or '-' .. amount
for index, leg in ipairs(legs) do
  local key, row, behind = KEYS[BEFORE + index], rows[index], suffix(leg)
  -- A charge in a window that is over and forgotten has nothing left to be corrected.
  if row.known or state == 'open' then
    local total, passed = row.most + added, nil
    for place, mark in ipairs(leg[7]) do
      if added > 0 and mark[2] <= total and mark[1] > row.fired then
        passed = mark[1]
        table.insert(crossings, {tostring(index - 1), tostring(place - 1), whole(total)})
      end
    end
    if passed then redis.call('HSET', key, 'f' .. behind, string.format('%.17g', passed)) end
    redis.call('HINCRBY', key, 'p' .. behind, whole(added))
    -- A window that is not there any more holds nothing to give back.
    redis.call('HINCRBY', key, 'h' .. behind, row.known and freed or '0')
    if not row.known then noted(key, leg, keep) end
  end
end
redis.call('HSET', HOLD, 'state', to, 'booked', actual)
redis.call('EXPIRE', HOLD, ARGV[8])
redis.call('ZREM', LEASES, id)
seq = redis.call('HINCRBY', META, 'seq', 1)
return ended('granted', crossings)
