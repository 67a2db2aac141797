-- Delete windows that are over, still, and in which nothing is held.
-- ARGV: the instant ('' for the server's own clock), seconds that a window is kept, and the members of `windows`, one
-- for each key. A run may have gone on since the reaper looked. Says how many there were.
local forgotten = 0
local before = (ARGV[1] == '' and clock() or tonumber(ARGV[1])) - tonumber(ARGV[2])
for index = 3, #ARGV do
  local member = ARGV[index]
  local key, slot = KEYS[BEFORE + index - 2], string.match(member, '^r(%-?%d+):') or ''
  local over = tonumber(redis.call('ZSCORE', WINDOWS, member) or before) < before
  if over and tonumber(redis.call('HGET', key, 'h' .. slot) or 0) <= 0 then
    if slot == '' then
      redis.call('DEL', key)
    else
      redis.call('HDEL', key, 'p' .. slot, 'h' .. slot, 'f' .. slot)
      local described = 2 * redis.call('HEXISTS', key, 'leg')
      if redis.call('HLEN', key) <= 1 + described then redis.call('DEL', key) end
    end
    redis.call('ZREM', WINDOWS, member)
    forgotten = forgotten + 1
  end
end
return forgotten
