
-- Hold `amount` more on every leg, or on none. After the three arguments that tell of the legs come all of them as JSON,
-- the limit of each, and the names of their windows, which `found` has behind the history. `after` is the history as
-- it will be. Returns what is refused: the
-- hard legs on which it does not fit, or which are paused, each as its index, spent, held, the limit in force, and 1 when
-- it is paused. Else nothing.
local function hold(first, found, amount, at, lease, keep, after, amended)
  local kinds, limits = ARGV[first], first + 3
  local names = limits + #kinds
  local rare = peculiar(first, names, amended, at)
  local write, size = {BOOKS, '@', after .. amended, '', '', '', '', '', '', '', '', '', '', '', ''}, 3
  local refused, new, described
  for index = 1, #kinds do
    local row, limit, kind = found[index + 1], ARGV[limits + index], byte(kinds, index)
    local p, h, before = '0', '0', nil
    if row then p, h, before = match(row, '^(%S+) (%S+) (.*)$') end
    local now = h + amount
    local spent, held, most, paused, total = p, h, limit, false, nil
    if rare then
      local leg = rare[index]
      spent, held, most, paused = leg.spent or p, leg.held or h, leg.limit, leg.paused
      total = spent + held + amount
    else
      total = p + now
    end
    -- A call that costs nothing passes a budget that is spent or paused. Capitals come first.
    if kind < 97 and amount > 0 and (paused or total > most + 0) then
      refused = refused or {}
      refused[#refused + 1] = {
        tostring(index - 1), format('%.0f', spent), format('%.0f', held), format('%.0f', most), paused and '1' or '0',
      }
    end
    write[size + 1], write[size + 2], size = ARGV[names + index], p .. ' ' .. plus(h, amount, now) .. ' ' .. limit, size + 2
    if not row or kind == 111 or kind == 79 then new = new or {}; new[#new + 1] = index end
    if before ~= limit then described = described or {}; described[#described + 1] = index end
  end
  if refused then return refused end
  if new or described then
    local legs = rare or aside(first, names)
    for _, index in ipairs(new or {}) do legs.note(legs[index], lease, keep) end
    for _, index in ipairs(described or {}) do
      local leg = legs[index]
      local name = leg.budget and 'lr' .. leg.budget or 'l' .. leg.name
      call('HSET', BOOKS, name, sub(ARGV[first + 3], leg.from, leg.to))
    end
  end
  call('HSET', unpack(write, 1, size))
end
