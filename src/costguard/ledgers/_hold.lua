-- To hold an amount on legs. After the four arguments that tell of them come the legs as JSON, the limit of each, and
-- then for each the fields p, h and n of its window, which `found` has the values of, behind the first three of `books`.

-- The hard legs on which `amount` more does not fit, or which are paused: each as its index, spent, held, the limit in
-- force, and 1 when it is paused.
local function refusals(first, found, amount, rare)
  -- A call that costs nothing passes a budget that is spent or paused.
  if amount == 0 then return end
  local kinds, limits, refused = ARGV[first], first + 4, nil
  for index = 1, #kinds do
    local spent, held, limit, paused = found[3 * index + 1] or 0, found[3 * index + 2] or 0, ARGV[limits + index], false
    if rare then
      local leg = rare[index]
      spent, held, limit, paused = leg.spent or spent, leg.held or held, leg.limit, leg.paused
    end
    -- Capitals come first.
    if (paused or spent + held + amount > limit + 0) and byte(kinds, index) < 97 then
      refused = refused or {}
      refused[#refused + 1] = {
        tostring(index - 1), format('%.0f', spent), format('%.0f', held), format('%.0f', limit), paused and '1' or '0',
      }
    end
  end
  return refused
end

-- Hold `amount` more on each, and count the write. `texts` when they are to be known as they are told now.
local function hold(first, found, amount, lease, keep, legs, texts)
  local kinds, write, size = ARGV[first], {BOOKS, 'seq', (found[2] or 0) + 1}, 3
  local limits = first + 4
  local names = limits + #kinds
  for index = 1, #kinds do
    local field, held, kind = ARGV[names + 3 * index - 1], found[3 * index + 2], byte(kinds, index)
    local now = (held or 0) + amount
    if now < MOST then
      write[size + 1], write[size + 2], size = field, now, size + 2
    else
      call('HINCRBY', BOOKS, field, format('%.0f', amount))
    end
    if not held or kind == 111 or kind == 79 then
      legs = legs or details(first)
      noted(legs[index], field, lease, keep)
    end
    if texts and found[3 * index + 3] ~= ARGV[limits + index] then
      legs = legs or details(first)
      local name, leg = ARGV[names + 3 * index], legs[index]
      write[size + 1], write[size + 2] = name, leg.told
      write[size + 3], write[size + 4], size = 'l' .. sub(name, 2), sub(ARGV[first + 4], leg.from, leg.to), size + 4
    end
  end
  call('HSET', unpack(write))
  return write[3]
end
