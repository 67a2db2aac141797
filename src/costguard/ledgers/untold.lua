-- Take over the alerts that nobody has in hand, and note until when the caller has them.
-- ARGV: the instant (- for the server's own clock), seconds to deliver an alert in.
local now = ARGV[1] == '-' and clock() or tonumber(ARGV[1])
local till = format('%.17g', now + tonumber(ARGV[2]))
local kept, overdue = call('HGETALL', ALERTS), {}
for index = 1, #kept, 2 do
  local till_now, rest = match(kept[index + 1], '^(%S+) (.*)$')
  if till_now == '-' or tonumber(till_now) <= now then
    if till_now ~= '-' then overdue[#overdue + 1] = rest end
    call('HSET', ALERTS, kept[index], till .. ' ' .. rest)
  end
end
return overdue
