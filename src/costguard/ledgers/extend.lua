-- Add an amount to an open hold on every leg, or on none.
-- ARGV: epoch and seq as last seen, prefix, amount, a word for this extension, keep.
local epoch, seq, lost = history(ARGV[1], ARGV[2])
if lost then return reply('lost', seq, epoch) end
local amount, word = ARGV[4], ARGV[5]

local known = redis.call('HMGET', HOLD, 'state', 'legs', 'word')
if not known[1] then return reply('unknown', seq, epoch) end
if known[1] ~= 'open' then return reply('conflict', seq, epoch, known[1]) end
-- The answer to it was lost and it is sent again.
if known[3] == word then return reply('granted', seq, epoch) end

local legs = cjson.decode(known[2])
if not named(legs, ARGV[3]) then return reply('legs', seq, epoch, known[2]) end
local rows = read_all(legs)
local refused = refusals(legs, rows, tonumber(amount))
if #refused > 0 then return reply('refused', seq, epoch, refused) end

hold(legs, rows, amount, tonumber(ARGV[6]))
redis.call('HINCRBY', HOLD, 'amount', amount)
redis.call('HSET', HOLD, 'word', word)
return reply('granted', redis.call('HINCRBY', META, 'seq', 1), epoch)
