-- Correct what an ended call is charged, in the windows it was made in. It never refuses.
-- ARGV: epoch and seq as last seen, the correction's id, actual, the digest of the legs, and then each leg.
local epoch, seq, lost = history(ARGV[1], ARGV[2])
local correction, actual = 'adjust:' .. ARGV[3], ARGV[4]

local function ended(kind, ...)
  return reply(kind, seq, epoch, lost and 1 or 0, ...)
end

local known = redis.call('HMGET', HOLD, 'state', 'booked', 'digest', 'settled', correction, 'at')
local state, booked, settled = known[1], known[2], known[4]
if not state then return ended('unknown') end
if known[5] then
  if known[5] ~= actual then return ended('conflict', known[5]) end
  return ended('granted', {})
end
if state == 'open' then return ended('open') end
if known[3] ~= ARGV[5] then return ended('legs', redis.call('HGET', HOLD, 'legs')) end
local legs = legs_from(6, tonumber(known[6] or 0))
local rows = read_all(legs)

local added, crossings = tonumber(actual) - tonumber(booked), {}
for index, leg in ipairs(legs) do
  -- A window that is over and forgotten has nothing left to be corrected.
  if rows[index].known then
    if added > 0 then crossed(crossings, index, leg, rows[index].most + added) end
    redis.call('HINCRBY', leg.key, 'p' .. leg.suffix, whole(added))
  end
end
redis.call('HSET', HOLD, 'booked', actual, 'settled', settled or booked, correction, actual)
seq = redis.call('HINCRBY', META, 'seq', 1)
return ended('granted', crossings)
