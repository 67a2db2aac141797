-- To book what an ended call did cost. After the four arguments that tell of legs come the least nano-dollars of each
-- one's marks (- for none), and then for each the fields p and h of its window, which `found` has the values of, behind
-- the first three of `books`.

-- Note the marks that a leg reaches with `total` spent, and add them to `crossings`.
local function crossed(crossings, index, leg, field, total, texts)
  local name, told = sub(field, 2), nil

  -- The highest mark told of it.
  local function fired()
    if leg.slots == 0 then return tonumber(call('HGET', BOOKS, 'f' .. name) or 0) end
    local fields, highest = around(leg, name), 0
    for place, slot in ipairs(fields) do fields[place] = 'f' .. slot end
    for _, mark in ipairs(call('HMGET', BOOKS, unpack(fields))) do highest = math.max(highest, tonumber(mark or 0)) end
    return highest
  end

  -- A mark at its percentage of an amended limit; in two steps, as doubles count no product of both.
  local function scaled(parts)
    local millions = math.floor(leg.limit / 1000000)
    return math.max(1, millions * parts + math.ceil((leg.limit - millions * 1000000) * parts / 1000000))
  end

  local place, highest, spent, limit = 0, nil, format('%.0f', total), format('%.0f', leg.limit)
  for percent, nano, parts in string.gmatch(leg.marks, '(%S+) (%S+) (%S+)') do
    if (leg.amended and scaled(tonumber(parts)) or tonumber(nano)) <= total then
      told = told or fired()
      if tonumber(percent) > told then
        highest = percent
        crossings[#crossings + 1] = {tostring(index - 1), tostring(place), spent, limit}
        local alert = table.concat({'-', spent, limit, percent, index - 1, texts}, ' ')
        call('HSET', ALERTS, name .. '|' .. percent, alert)
      end
    end
    place = place + 1
  end
  if highest then call('HSET', BOOKS, 'f' .. name, highest) end
end

-- Add to what is spent in each window, let go of what was held, and count the write. `id` is that of a hold that was open;
-- without it, a window that is not there is over and forgotten, and has nothing left to be corrected. Returns the number
-- of the write, and the marks that are reached.
local function book(first, found, added, freed, id, keep, at, texts)
  local kinds, least = ARGV[first], first + 3
  local names = least + #kinds
  local rare = peculiar(first, found[3], at, names, 2)
  local write, size, legs, crossings = {BOOKS, 'seq', (found[2] or 0) + 1}, 3, rare, {}
  for index = 1, #kinds do
    local field, known = ARGV[names + 2 * index], found[2 * index + 3]
    local spent, held = (found[2 * index + 2] or 0) + 0, (known or 0) + 0
    if known or id then
      local most, mark = spent, ARGV[least + index]
      if rare then most = rare[index].most or most end
      if added > 0 and mark ~= '-' and (rare and rare[index].amended or mark + 0 <= most + added) then
        legs = legs or details(first)
        crossed(crossings, index, legs[index], field, most + added, texts)
      end
      -- A window that is not there any more holds nothing to give back.
      local back = known and freed or 0
      if spent < MOST and spent + added < MOST and held < MOST then
        -- One write is quicker than two additions, and as exact as long as doubles count every one.
        write[size + 1], write[size + 2] = ARGV[names + 2 * index - 1], spent + added
        write[size + 3], write[size + 4], size = field, held - back, size + 4
      else
        call('HINCRBY', BOOKS, ARGV[names + 2 * index - 1], format('%.0f', added))
        call('HINCRBY', BOOKS, field, format('%.0f', 0 - back))
      end
      if not known then
        legs = legs or details(first)
        noted(legs[index], field, call('ZSCORE', LEASES, id) or clock(), keep)
      end
    end
  end
  call('HSET', unpack(write))
  return write[3], crossings
end
