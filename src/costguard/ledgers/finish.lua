-- End a hold: book what the call did cost, nothing, or, when its lease is over, all that was held. It never refuses.
-- ARGV: epoch and seq as last seen, id, the state to end in, actual, keep, seconds to remember it for, the instant a
-- lease must be over at ('' for the server's own clock), and the legs.
local FIRST = 9
local kinds = ARGV[FIRST]
local names = FIRST + 3 + #kinds
local found = call('HMGET', BOOKS, 'epoch', 'seq', 'terms', unpack(ARGV, names + 1, names + 2 * #kinds))
local epoch, seq = found[1], found[2]
local id, to, actual = ARGV[3], ARGV[4], ARGV[5]
-- Money that is spent is booked even when writes were lost; the client is told so in the same breath.
local gone = lost(epoch, seq)

local function ended(kind, ...)
  return reply(kind, seq, epoch, gone and 1 or 0, ...)
end

local known = call('GET', HOLD)
if not known then
  if to == 'expired' then call('ZREM', LEASES, id) end
  return ended('unknown')
end
local state, amount, digest, booked, settled, at, place = match(known, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) ()')
if state ~= 'open' then
  if to == 'expired' then return ended('nothing') end
  if state == to then
    local before = settled ~= '-' and settled or booked
    if to == 'settled' and before ~= actual then return ended('conflict', state, before) end
    return ended('granted', {})
  end
  if state ~= 'expired' then return ended('conflict', state, booked) end
end

if to == 'expired' then
  local lease = call('ZSCORE', LEASES, id)
  local now = ARGV[8] == '' and clock() or tonumber(ARGV[8])
  if lease and tonumber(lease) > now then return ended('nothing') end
  actual = amount
end
local function rewritten(what, as)
  local words = {to, amount, digest, what, as, at, sub(known, place)}
  call('SET', HOLD, table.concat(words, ' '), 'EX', ARGV[7])
end
if settled ~= '-' then
  -- Who corrected the charge of an expired hold knew more than its own late end does.
  rewritten(booked, actual)
  seq = call('HINCRBY', BOOKS, 'seq', 1)
  return ended('granted', {})
end
local texts = match(known, '^%S+ %S+ %S+ ()', place)
if digest ~= ARGV[FIRST + 1] then return ended('legs', sub(known, texts)) end

local open = state == 'open'
local crossings
seq, crossings = book(FIRST, found, actual - booked, open and amount + 0 or 0, open and id, ARGV[6], at + 0,
  sub(known, texts))
rewritten(actual, '-')
call('ZREM', LEASES, id)
if gone or crossings[1] then return ended('granted', crossings) end
return format('granted %.0f %s', seq, epoch)
