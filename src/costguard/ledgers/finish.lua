-- End a hold: book what the call did cost, nothing, or, when its lease is over, all that was held. It never refuses.
-- ARGV: epoch and seq as last seen, id, the letter of the state to end in, actual, keep, seconds to remember it for, the
-- instant a lease must be over at ('' for the server's own clock), and the legs.
local FIRST = 9
local kinds = ARGV[FIRST]
local names = FIRST + 2 + #kinds
local found, known = call('HMGET', BOOKS, '@', unpack(ARGV, names + 1, names + #kinds)), call('GET', HOLD)
local seq, epoch, amended = history(found[1])
local id, to, actual = ARGV[3], ARGV[4], ARGV[5]
-- Money that is spent is booked even when writes were lost; the client is told so in the same breath.
local gone = lost(seq, epoch) and 1 or 0

if not known then
  if to == 'e' then call('ZREM', LEASES, id) end
  return reply('unknown', seq, epoch, gone)
end
local state, digest, amount, booked, settled, place, at = match(known, '^(%a)(%x+) (%S+) (%S+) (%S+) ()(%S+)')
if state ~= 'o' then
  if to == 'e' then return reply('nothing', seq, epoch, gone) end
  if state == to then
    local before = settled ~= '-' and settled or booked
    if to == 's' and before ~= actual then return reply('conflict', seq, epoch, gone, state, before) end
    return reply('granted', seq, epoch, gone, {})
  end
  if state ~= 'e' then return reply('conflict', seq, epoch, gone, state, booked) end
end
if to == 'e' then
  local lease = call('ZSCORE', LEASES, id)
  local now = ARGV[8] == '' and clock() or tonumber(ARGV[8])
  if lease and tonumber(lease) > now then return reply('nothing', seq, epoch, gone) end
  actual = amount
end

local after, crossings
if settled ~= '-' then
  -- Who corrected the charge of an expired hold knew more than its own late end does.
  settled, after, crossings = actual, format('%d %s%s', seq + 1, epoch, amended), {}
  call('HSET', BOOKS, '@', after)
else
  local texts = match(known, '^%S+ %S+ %S+ %S+ ()', place)
  if digest ~= ARGV[FIRST + 1] then return reply('legs', seq, epoch, gone, sub(known, texts)) end
  local open = state == 'o'
  after, crossings = book(
    FIRST, found, actual - booked, open and amount + 0 or 0, open and id, ARGV[6], at, seq, epoch, amended, known, texts)
  booked = actual
end
call('SET', HOLD, to .. digest .. ' ' .. amount .. ' ' .. booked .. ' ' .. settled .. ' ' .. sub(known, place),
  'EX', ARGV[7])
call('ZREM', LEASES, id)
if gone == 1 or crossings[1] then return reply('granted', seq + 1, epoch, gone, crossings) end
return after
