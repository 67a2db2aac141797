-- Hold an amount on every leg, or on none. A known id gets its first answer again.
-- ARGV: epoch and seq as last seen, an epoch to begin with, id, amount, expires, lease, clock, keep, the instant it is
-- asked for at, the digest of the legs, then each leg, and at last each leg as JSON.
local epoch, seq, lost = history(ARGV[1], ARGV[2])
if lost then return reply('lost', seq, epoch) end
local id, amount, expires, digest = ARGV[4], ARGV[5], ARGV[6], ARGV[11]

local known = redis.call('HMGET', HOLD, 'first', 'expires', 'digest')
if known[1] then
  local same = known[1] == amount and known[2] == expires and known[3] == digest
  return reply(same and 'granted' or 'conflict', seq, epoch)
end

-- Whether a top-up still counts, too, goes by the server's clock.
local now = ARGV[8] == 'server' and clock()
local at = now or tonumber(ARGV[10])
local legs = legs_from(12, at)
local rows = read_all(legs)
local refused = refusals(legs, rows, tonumber(amount))
if #refused > 0 then return reply('refused', seq, epoch, refused) end

-- A lease is a length of time: the server counts it on its own clock, whatever the client's says.
local lease = now and now + tonumber(ARGV[7]) or tonumber(expires)
if epoch == '' then
  epoch = ARGV[3]
  redis.call('HSET', META, 'epoch', epoch)
end
hold(legs, rows, amount, lease, tonumber(ARGV[9]))
local texts = {}
for index, leg in ipairs(legs) do
  texts[index] = ARGV[12 + 2 * #legs + index]
  if rows[index].limit ~= leg.told then redis.call('HSET', leg.key, 'n', leg.told, 'leg', texts[index]) end
end
redis.call('HSET', HOLD, 'state', 'open', 'amount', amount, 'first', amount, 'booked', '0', 'expires', expires,
  'legs', '[' .. table.concat(texts, ',') .. ']', 'digest', digest, 'at', string.format('%.17g', at))
redis.call('ZADD', LEASES, string.format('%.17g', lease), id)
return reply('granted', redis.call('HINCRBY', META, 'seq', 1), epoch)
