-- Delete windows that are over, still, and in which nothing is held.
-- ARGV: the instant (- for the server's own clock), seconds that a window is kept, and the members of `windows`. A run
-- may have gone on since the reaper looked. Says how many there were.
local forgotten = 0
local before = (ARGV[1] == '-' and clock() or tonumber(ARGV[1])) - tonumber(ARGV[2])
for index = 3, #ARGV do
  local name = ARGV[index]
  local over = tonumber(call('ZSCORE', WINDOWS, name) or before) < before
  if over and tonumber(match(call('HGET', BOOKS, name) or '0 0', '^%S+ (%S+)')) <= 0 then
    call('HDEL', BOOKS, name, 'f' .. name, 'l' .. name)
    local rolling = byte(name) == 114 and 'r' .. match(name, ':.*$')
    if rolling and call('HINCRBY', BOOKS, 'c' .. rolling, -1) <= 0 then
      call('HDEL', BOOKS, 'l' .. rolling, 'a' .. rolling, 'c' .. rolling)
    end
    call('ZREM', WINDOWS, name)
    forgotten = forgotten + 1
  end
end
return forgotten
