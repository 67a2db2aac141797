-- Write an amendment, and what is in force after it, unless somebody else was quicker.
-- KEYS: as ever, with the amendments in the place of a hold. ARGV: epoch and seq as last seen, the amendment's id, its
-- budget, itself as JSON, and the budget's terms as they are thought to be ('' for none) and as they are to be.
local epoch, seq, lost = history(ARGV[1], ARGV[2])
if lost then return reply('lost', seq, epoch) end
local known = redis.call('HGET', HOLD, ARGV[3])
if known then return reply('known', seq, epoch, string.match(known, '^%d+ (.*)$')) end
if (redis.call('HGET', TERMS, ARGV[4]) or '') ~= ARGV[6] then return reply('again', seq, epoch) end
redis.call('HSET', HOLD, ARGV[3], redis.call('HLEN', HOLD) .. ' ' .. ARGV[5])
redis.call('HSET', TERMS, ARGV[4], ARGV[7])
return reply('granted', redis.call('HINCRBY', META, 'seq', 1), epoch)
