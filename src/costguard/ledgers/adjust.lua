-- Correct what an ended call is charged, in the windows it was made in. It never refuses.
-- KEYS: as ever, and the corrections of this hold. ARGV: number and epoch as last seen, the correction's id, actual, seconds
-- to remember it for, and the legs.
local FIRST = 6
local kinds = ARGV[FIRST]
local names = FIRST + 2 + #kinds
local found, known = call('HMGET', BOOKS, '@', unpack(ARGV, names + 1, names + #kinds)), call('GET', HOLD)
local seq, epoch, amended = history(found[1])
local gone, actual = lost(seq, epoch, ARGV[1], ARGV[2]) and 1 or 0, ARGV[4]

if not known then return reply('unknown', seq, epoch, gone) end
local before = call('HGET', KEYS[7], ARGV[3])
if before and before ~= actual then return reply('conflict', seq, epoch, gone, before) end
if before then return reply('granted', seq, epoch, gone, {}) end
local state, digest, amount, booked, settled, place, at, texts = match(
  known, '^(%a)(%x+) (%S+) (%S+) (%S+) ()(%S+) %S+ %S+ %S+ ()')
if state == 'o' then return reply('open', seq, epoch, gone) end
if digest ~= ARGV[FIRST + 1] then return reply('legs', seq, epoch, gone, sub(known, texts)) end

local after = format('%d %s', seq + 1, epoch)
local crossings = book(FIRST, found, actual - booked, 0, false, nil, at, after, amended, known, texts)
if settled == '-' then settled = booked end
local words = {state .. digest, amount, actual, settled, sub(known, place)}
call('SET', HOLD, table.concat(words, ' '), 'KEEPTTL')
call('HSET', KEYS[7], ARGV[3], actual)
call('EXPIRE', KEYS[7], ARGV[5])
return reply('granted', seq + 1, epoch, gone, crossings)
