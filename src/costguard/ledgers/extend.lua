-- Add an amount to an open hold on every leg, or on none.
-- ARGV: epoch and seq as last seen, amount, a word for this extension, keep, id, the digest of the legs, and then each
-- leg.
local epoch, seq, lost = history(ARGV[1], ARGV[2])
if lost then return reply('lost', seq, epoch) end
local amount, word = ARGV[3], ARGV[4]

local known = redis.call('HMGET', HOLD, 'state', 'digest', 'word', 'at')
if not known[1] then return reply('unknown', seq, epoch) end
if known[1] ~= 'open' then return reply('conflict', seq, epoch, known[1]) end
-- The answer to it was lost and it is sent again.
if known[3] == word then return reply('granted', seq, epoch) end

if known[2] ~= ARGV[7] then return reply('legs', seq, epoch, redis.call('HGET', HOLD, 'legs')) end
local legs = legs_from(8, tonumber(known[4] or 0))
local rows = read_all(legs)
local refused = refusals(legs, rows, tonumber(amount))
if #refused > 0 then return reply('refused', seq, epoch, refused) end

hold(legs, rows, amount, lease_of(ARGV[6]), tonumber(ARGV[5]))
redis.call('HINCRBY', HOLD, 'amount', amount)
redis.call('HSET', HOLD, 'word', word)
return reply('granted', redis.call('HINCRBY', META, 'seq', 1), epoch)
