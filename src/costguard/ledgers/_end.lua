
-- Note the marks that a leg reaches with `total` spent, and add them to `crossings`.
local function cross(crossings, legs, index, total, texts)
  local leg = legs[index]

  -- The highest mark told of it.
  local function fired()
    if not leg.budget then return tonumber(call('HGET', BOOKS, 'f' .. leg.name) or 0) end
    local highest = 0
    for _, mark in ipairs(call('HMGET', BOOKS, unpack(legs.around(leg, 'f')))) do
      highest = math.max(highest, tonumber(mark or 0))
    end
    return highest
  end

  -- A mark at its percentage of an amended limit; in two steps, as doubles count no product of both.
  local function scaled(parts)
    local millions = math.floor(leg.limit / 1000000)
    return math.max(1, millions * parts + math.ceil((leg.limit - millions * 1000000) * parts / 1000000))
  end

  local place, highest, told, spent, limit = 0, nil, nil, format('%.0f', total), format('%.0f', leg.limit)
  for percent, nano, parts in string.gmatch(leg.marks, '(%S+) (%S+) (%S+)') do
    if (leg.amended and scaled(tonumber(parts)) or tonumber(nano)) <= total then
      told = told or fired()
      if tonumber(percent) > told then
        highest = percent
        crossings[#crossings + 1] = {tostring(index - 1), tostring(place), spent, limit}
        local alert = table.concat({'-', spent, limit, percent, index - 1, texts}, ' ')
        call('HSET', ALERTS, leg.name .. '|' .. percent, alert)
      end
    end
    place = place + 1
  end
  if highest then call('HSET', BOOKS, 'f' .. leg.name, highest) end
end

-- Add to what is spent in each window, and let go of what was held. After the three arguments that tell of the legs come
-- the least nano-dollars of each one's marks (- for none), and the names of their windows, which `found` has behind the
-- history. `id` is that of a hold that was open; without it, a window that is not there is over and forgotten, and has
-- nothing left to be corrected. Returns the marks that are reached.
local function book(first, found, added, freed, id, keep, at, after, amended, known, texts)
  local kinds, least = ARGV[first], first + 2
  local names = least + #kinds
  local rare = peculiar(first, names, amended, at)
  local write, size = {BOOKS, '@', after .. amended, '', '', '', '', '', '', '', '', '', '', '', ''}, 3
  local legs, crossings = rare, {}
  for index = 1, #kinds do
    local row, mark = found[index + 1], ARGV[least + index]
    if row or id then
      local p, h, limit = '0', '0', '-'
      if row then p, h, limit = match(row, '^(%S+) (%S+) (.*)$') end
      local now = p + added
      local total, changed = now, false
      if rare then total, changed = (rare[index].most or p) + added, rare[index].amended end
      if mark ~= '-' and added > 0 and (changed or mark + 0 <= total) then
        legs = legs or aside(first, names)
        cross(crossings, legs, index, total, sub(known, texts))
      end
      -- A window that is not there any more holds nothing to give back.
      if row and freed ~= 0 then h = plus(h, -freed, h - freed) end
      write[size + 1], write[size + 2], size = ARGV[names + index], plus(p, added, now) .. ' ' .. h .. ' ' .. limit, size + 2
      if not row then
        legs = legs or aside(first, names)
        legs.note(legs[index], call('ZSCORE', LEASES, id) or clock(), keep)
      end
    end
  end
  call('HSET', unpack(write, 1, size))
  return crossings
end
