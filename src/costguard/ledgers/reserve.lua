-- Hold an amount on every leg, or on none. A known id gets its first answer again.
-- ARGV: epoch and seq as last seen, an epoch to begin with, id, amount, expires, the lease in whole seconds ('' when
-- `expires` counts, by the client's clock), keep, the instant it is asked for at, and the legs.
local FIRST = 10
local kinds, digest = ARGV[FIRST], ARGV[FIRST + 1]
local names = FIRST + 3 + #kinds
local found, known = call('HMGET', BOOKS, '@', unpack(ARGV, names + 1, names + #kinds)), call('GET', HOLD)
local seq, epoch, amended = history(found[1])
if lost(seq, epoch) then return reply('lost', seq, epoch) end
local amount, expires, lease, at = ARGV[5], ARGV[6], ARGV[7], ARGV[9]

if known then
  local legs, first, until_then = match(known, '^%a(%x+) %S+ %S+ %S+ %S+ (%S+) (%S+) ')
  local same = first == amount and until_then == expires and legs == digest
  return reply(same and 'granted' or 'conflict', seq, epoch)
end

-- A lease is a length of time: the server counts it on its own clock, whatever the client's says, to the next second.
-- Whether a top-up still counts, too, goes by the server's clock.
if lease == '' then
  lease = expires
else
  at = call('TIME')[1]
  lease = format('%d', at + lease + 1)
end
if epoch == '' then epoch = ARGV[3] end
local refused, after = hold(FIRST, found, amount + 0, at, lease, ARGV[8], seq, epoch, amended)
if refused then return reply('refused', seq, found[1] and epoch or '', refused) end

call('SET', HOLD, 'o' .. digest .. ' ' .. amount .. ' 0 - ' .. at .. ' ' .. amount .. ' ' .. expires .. ' - '
  .. ARGV[FIRST + 3])
call('ZADD', LEASES, lease, ARGV[4])
return after
