-- Add an amount to an open hold on every leg, or on none.
-- ARGV: epoch and seq as last seen, amount, a word for this extension, keep, id, and the legs.
local FIRST = 7
local kinds = ARGV[FIRST]
local names = FIRST + 4 + #kinds
local found = call('HMGET', BOOKS, 'epoch', 'seq', 'terms', unpack(ARGV, names + 1, names + 3 * #kinds))
local epoch, seq = found[1], found[2]
if lost(epoch, seq) then return reply('lost', seq, epoch) end
local word = ARGV[4]

local known = call('GET', HOLD)
if not known then return reply('unknown', seq, epoch) end
local state, amount, digest, at, first, expires, last, place = match(
  known, '^(%S+) (%S+) (%S+) 0 %- (%S+) (%S+) (%S+) (%S+) ()')
if state ~= 'open' then return reply('conflict', seq, epoch, match(known, '^%S+')) end
-- The answer to it was lost and it is sent again.
if last == word then return reply('granted', seq, epoch) end

local texts = sub(known, place)
if digest ~= ARGV[FIRST + 1] then return reply('legs', seq, epoch, texts) end
local more = ARGV[3] + 0
local rare = peculiar(FIRST, found[3], at + 0, names, 3)
local refused = refusals(FIRST, found, more, rare)
if refused then return reply('refused', seq, epoch, refused) end

seq = hold(FIRST, found, more, call('ZSCORE', LEASES, ARGV[6]) or clock(), ARGV[5], rare, false)
call('SET', HOLD, table.concat(
  {state, format('%.0f', amount + more), digest, '0', '-', at, first, expires, word, texts}, ' '))
return format('granted %.0f %s', seq, epoch)
