-- What the reaper has to look at: holds whose lease is over, and windows that were over long enough ago.
-- ARGV: the instant (- for the server's own clock), seconds that a window is kept, how many of each.
local now = ARGV[1] == '-' and clock() or tonumber(ARGV[1])
return {
  call('ZRANGEBYSCORE', LEASES, '-inf', format('%.17g', now), 'LIMIT', 0, ARGV[3]),
  call('ZRANGEBYSCORE', WINDOWS, '-inf', '(' .. format('%.17g', now - tonumber(ARGV[2])), 'LIMIT', 0,
    ARGV[3]),
}
