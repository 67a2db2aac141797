-- Correct what an ended call is charged, in the windows it was made in. It never refuses.
-- KEYS: as ever, and the corrections of this hold. ARGV: epoch and seq as last seen, the correction's id, actual, seconds
-- to remember it for, and the legs.
local FIRST = 6
local kinds = ARGV[FIRST]
local names = FIRST + 3 + #kinds
local found = call('HMGET', BOOKS, 'epoch', 'seq', 'terms', unpack(ARGV, names + 1, names + 2 * #kinds))
local epoch, seq = found[1], found[2]
local gone = lost(epoch, seq)

local function ended(kind, ...)
  return reply(kind, seq, epoch, gone and 1 or 0, ...)
end

local known, actual = call('GET', HOLD), ARGV[4]
if not known then return ended('unknown') end
local before = call('HGET', KEYS[7], ARGV[3])
if before and before ~= actual then return ended('conflict', before) end
if before then return ended('granted', {}) end
local state, amount, digest, booked, settled, at, place = match(known, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) ()')
if state == 'open' then return ended('open') end
local texts = match(known, '^%S+ %S+ %S+ ()', place)
if digest ~= ARGV[FIRST + 1] then return ended('legs', sub(known, texts)) end

local crossings
seq, crossings = book(FIRST, found, actual - booked, 0, false, nil, at + 0, sub(known, texts))
local words = {state, amount, digest, actual, settled == '-' and booked or settled, at, sub(known, place)}
call('SET', HOLD, table.concat(words, ' '), 'KEEPTTL')
call('HSET', KEYS[7], ARGV[3], actual)
call('EXPIRE', KEYS[7], ARGV[5])
return ended('granted', crossings)
