-- Write an amendment, and what is in force after it, unless somebody else was quicker.
-- KEYS: as ever, with the amendments in the place of a hold. ARGV: number and epoch as last seen, the amendment's id, its
-- budget, itself as JSON, and the budget's terms as they are thought to be ('' for none) and as they are to be, and an
-- epoch to begin with.
local seq, epoch = history(call('HGET', BOOKS, '@'))
if lost(seq, epoch, ARGV[1], ARGV[2]) then return reply('lost', seq, epoch) end
local known = call('HGET', HOLD, ARGV[3])
if known then return reply('known', seq, epoch, match(known, '^%d+ (.*)$')) end
if (call('HGET', TERMS, ARGV[4]) or '') ~= ARGV[6] then return reply('again', seq, epoch) end
if epoch == '-' then epoch = ARGV[8] end
call('HSET', HOLD, ARGV[3], call('HLEN', HOLD) .. ' ' .. ARGV[5])
call('HSET', TERMS, ARGV[4], ARGV[7])
call('HSET', BOOKS, '@', format('%d %s+', seq + 1, epoch))
return reply('granted', seq + 1, epoch)
