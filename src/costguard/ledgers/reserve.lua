-- Hold an amount on every leg, or on none. A known id gets its first answer again.
-- ARGV: in one, as that costs less, number and epoch as last seen, an epoch to begin with, amount, expires, the lease in
-- whole seconds (- when `expires` counts, by the client's clock), keep, the instant it is asked for at (- when the lease
-- counts, by the server's), and id; the legs.
local FIRST = 2
local number, seen, anew, amount, expires, lease, keep, at, id = match(
  ARGV[1], '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (.*)$')
local kinds, digest = ARGV[FIRST], ARGV[FIRST + 1]
local names = FIRST + 3 + #kinds
local found, known = call('HMGET', BOOKS, '@', unpack(ARGV, names + 1, names + #kinds)), call('GET', HOLD)
local seq, epoch, amended = history(found[1])
if lost(seq, epoch, number, seen) then return reply('lost', seq, epoch) end

if known then
  local legs, first, until_then = match(known, '^%a(%x+) %S+ %S+ %S+ %S+ (%S+) (%S+) ')
  local same = first == amount and until_then == expires and legs == digest
  return reply(same and 'granted' or 'conflict', seq, epoch)
end

-- A lease is a length of time: the server counts it on its own clock, whatever the client's says, to the next second.
-- Whether a top-up still counts, too, goes by the server's clock.
if lease == '-' then
  lease = expires
else
  at = call('TIME')[1]
  lease = format('%d', at + lease + 1)
end
if epoch == '-' then epoch = anew end
local after = format('%d %s', seq + 1, epoch)
local refused = hold(FIRST, found, amount + 0, at, lease, keep, after, amended)
if refused then return reply('refused', seq, found[1] and epoch or '-', refused) end

call('SET', HOLD, 'o' .. digest .. ' ' .. amount .. ' 0 - ' .. at .. ' ' .. amount .. ' ' .. expires .. ' - '
  .. ARGV[FIRST + 3])
call('ZADD', LEASES, lease, id)
return {ok = after}
