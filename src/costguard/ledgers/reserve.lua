-- Hold an amount on every leg, or on none. A known id gets its first answer again.
-- ARGV: epoch and seq as last seen, an epoch to begin with, id, amount, expires, lease, the instant it is asked for at
-- ('' for the server's own clock), keep, and the legs.
local FIRST = 10
local kinds = ARGV[FIRST]
local names = FIRST + 4 + #kinds
local found = call('HMGET', BOOKS, 'epoch', 'seq', 'terms', unpack(ARGV, names + 1, names + 3 * #kinds))
local epoch, seq = found[1], found[2]
if lost(epoch, seq) then return reply('lost', seq, epoch) end
local amount, expires, digest = ARGV[5], ARGV[6], ARGV[FIRST + 1]

local known = call('GET', HOLD)
if known then
  local legs, first, until_then = match(known, '^%S+ %S+ (%S+) %S+ %S+ %S+ (%S+) (%S+) ')
  local same = first == amount and until_then == expires and legs == digest
  return reply(same and 'granted' or 'conflict', seq, epoch)
end

-- A lease is a length of time: the server counts it on its own clock, whatever the client's says. Whether a top-up still
-- counts, too, goes by the server's clock.
local at, lease = ARGV[8], expires
if at == '' then
  local now = clock()
  at, lease = format('%.17g', now), now + ARGV[7]
end
local more = amount + 0
local rare = peculiar(FIRST, found[3], at + 0, names, 3)
local refused = refusals(FIRST, found, more, rare)
if refused then return reply('refused', seq, epoch, refused) end

if not epoch then
  epoch = ARGV[3]
  call('HSET', BOOKS, 'epoch', epoch)
end
seq = hold(FIRST, found, more, lease, ARGV[9], rare, true)
call('SET', HOLD, 'open ' .. amount .. ' ' .. digest .. ' 0 - ' .. at .. ' ' .. amount .. ' ' .. expires .. ' - '
  .. ARGV[FIRST + 4])
call('ZADD', LEASES, lease, ARGV[4])
return format('granted %.0f %s', seq, epoch)
