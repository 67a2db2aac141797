-- End a hold: book what the call did cost, nothing, or, when its lease is over, all that was held. It never refuses.
-- ARGV: epoch and seq as last seen, id, the state to end in, actual, keep, seconds to remember it for, the instant a
-- lease must be over at ('' for the server's own clock), the digest of the legs, and then each leg.
local epoch, seq, lost = history(ARGV[1], ARGV[2])
local id, to, actual, keep = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])

local function ended(kind, ...)
  -- Money that is spent is booked even when writes were lost; the client is told so in the same breath.
  return reply(kind, seq, epoch, lost and 1 or 0, ...)
end

local known = redis.call('HMGET', HOLD, 'state', 'amount', 'booked', 'digest', 'settled', 'at')
local state, amount, booked, settled = known[1], known[2], known[3], known[5]
if not state then
  if to == 'expired' then redis.call('ZREM', LEASES, id) end
  return ended('unknown')
end
if state ~= 'open' and to == 'expired' then return ended('nothing') end
if state == to then
  local before = settled or booked
  if to == 'settled' and before ~= actual then return ended('conflict', state, before) end
  return ended('granted', {})
end
if state == 'settled' or state == 'released' then return ended('conflict', state, booked) end

if to == 'expired' then
  local lease = redis.call('ZSCORE', LEASES, id)
  local now = ARGV[8] == '' and clock() or tonumber(ARGV[8])
  if lease and tonumber(lease) > now then return ended('nothing') end
  actual = amount
end
if settled then
  -- Who corrected the charge of an expired hold knew more than its own late end does.
  redis.call('HSET', HOLD, 'state', to, 'settled', actual)
  seq = redis.call('HINCRBY', META, 'seq', 1)
  return ended('granted', {})
end
if known[4] ~= ARGV[9] then return ended('legs', redis.call('HGET', HOLD, 'legs')) end
local legs = legs_from(10, tonumber(known[6] or 0))
local rows = read_all(legs)

local added, crossings = tonumber(actual) - tonumber(booked), {}
local freed = (state ~= 'open' or amount == '0') and 0 or -tonumber(amount)
for index, leg in ipairs(legs) do
  local row = rows[index]
  -- A charge in a window that is over and forgotten has nothing left to be corrected.
  if row.known or state == 'open' then
    if added > 0 then crossed(crossings, index, leg, row.most + added) end
    local spent = row.spent + added
    if leg.slots == 0 and row.known and math.max(spent, row.held) < MOST then
      -- One write is quicker than two additions, and as exact as long as doubles count every one.
      redis.call('HSET', leg.key, 'p', whole(spent), 'h', whole(row.held + freed))
    else
      redis.call('HINCRBY', leg.key, 'p' .. leg.suffix, whole(added))
      -- A window that is not there any more holds nothing to give back.
      redis.call('HINCRBY', leg.key, 'h' .. leg.suffix, row.known and whole(freed) or '0')
    end
    if not row.known then noted(leg, lease_of(id), keep) end
  end
end
redis.call('HSET', HOLD, 'state', to, 'booked', actual)
redis.call('EXPIRE', HOLD, ARGV[7])
redis.call('ZREM', LEASES, id)
seq = redis.call('HINCRBY', META, 'seq', 1)
return ended('granted', crossings)
