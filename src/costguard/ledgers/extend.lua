-- Add an amount to an open hold on every leg, or on none.
-- ARGV: number and epoch as last seen, amount, a word for this extension, keep, id, and the legs.
local FIRST = 7
local kinds = ARGV[FIRST]
local names = FIRST + 3 + #kinds
local found, known = call('HMGET', BOOKS, '@', unpack(ARGV, names + 1, names + #kinds)), call('GET', HOLD)
local seq, epoch, amended = history(found[1])
if lost(seq, epoch, ARGV[1], ARGV[2]) then return reply('lost', seq, epoch) end

if not known then return reply('unknown', seq, epoch) end
local state, digest, amount, booked, settled, at, first, expires, word, place = match(
  known, '^(%a)(%x+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) ()')
if state ~= 'o' then return reply('conflict', seq, epoch, state) end
-- The answer to it was lost and it is sent again.
if word == ARGV[4] then return reply('granted', seq, epoch) end

local texts, more = sub(known, place), ARGV[3] + 0
if digest ~= ARGV[FIRST + 1] then return reply('legs', seq, epoch, texts) end
local lease = call('ZSCORE', LEASES, ARGV[6]) or clock()
local after = format('%d %s', seq + 1, epoch)
local refused = hold(FIRST, found, more, at, lease, ARGV[5], after, amended)
if refused then return reply('refused', seq, epoch, refused) end

local words = {state .. digest, plus(amount, more, amount + more), booked, settled, at, first, expires, ARGV[4], texts}
call('SET', HOLD, table.concat(words, ' '))
return {ok = after}
