-- End a hold: book what the call did cost, nothing, or, when its lease is over, all that was held. It never refuses.
-- ARGV: in one, as that costs less, number and epoch as last seen, the letter of the state to end in, actual, keep,
-- seconds to remember it for, the instant a lease must be over at (- for the server's own clock), and id; the legs.
local FIRST = 2
local number, seen, to, actual, keep, remembered, over, id = match(
  ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
local kinds = ARGV[FIRST]
local names = FIRST + 2 + #kinds
local found, known = call('HMGET', BOOKS, '@', unpack(ARGV, names + 1, names + #kinds)), call('GET', HOLD)
local seq, epoch, amended = history(found[1])
-- Money that is spent is booked even when writes were lost; the client is told so in the same breath.
local gone = lost(seq, epoch, number, seen) and 1 or 0

if not known then
  if to == 'e' then call('ZREM', LEASES, id) end
  return reply('unknown', seq, epoch, gone)
end
local state, digest = sub(known, 1, 1), sub(known, 2, 33)
local amount, booked, settled, place, at = match(known, '^(%S+) (%S+) (%S+) ()(%S+)', 35)
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
  local now = over == '-' and clock() or tonumber(over)
  if lease and tonumber(lease) > now then return reply('nothing', seq, epoch, gone) end
  actual = amount
end

local after, crossings = format('%d %s', seq + 1, epoch), nil
if settled ~= '-' then
  -- Who corrected the charge of an expired hold knew more than its own late end does.
  settled, crossings = actual, {}
  call('HSET', BOOKS, '@', after .. amended)
else
  local texts = match(known, '^%S+ %S+ %S+ %S+ ()', place)
  if digest ~= ARGV[FIRST + 1] then return reply('legs', seq, epoch, gone, sub(known, texts)) end
  local open = state == 'o'
  crossings = book(
    FIRST, found, actual - booked, open and amount + 0 or 0, open and id, keep, at, after, amended, known, texts)
  booked = actual
end
call('SET', HOLD, to .. digest .. ' ' .. amount .. ' ' .. booked .. ' ' .. settled .. ' ' .. sub(known, place),
  'EX', remembered)
call('ZREM', LEASES, id)
if gone == 1 or crossings[1] then return reply('granted', seq + 1, epoch, gone, crossings) end
return {ok = after}
