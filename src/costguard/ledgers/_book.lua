-- The arithmetic of costguard._book for Redis, put in front of each of the scripts beside it.
--
-- KEYS: meta, leases, windows, terms, alerts, hold, and then the window of each leg, all in one hash slot.
-- Each leg is told in two arguments, as `_redis_told` writes them. One is its limit. The other begins with h when it is
-- hard (else s) and with what it is: c a calendar window, o one run, r a rolling one. Then come the least nano-dollars of
-- its marks (- for none), how many slots it is counted in and which this is (0 0 for a calendar window), when it can be
-- forgotten (- for never, +86400 for a run: so long after the lease of its last call), and its marks, each as percent,
-- nano-dollars and ten-thousandths of a percent. It is read as far as it is needed, which mostly is not far.
-- After all of them comes one argument with the names, for each, of its budget and of its group, and their lengths.
-- The hold keeps the legs whole, as JSON, and a digest of it, which says whether a client told of the same legs.
-- A window is a hash: p spent, h held, f the highest mark told. The slots of a rolling budget share one hash, with the
-- slot's number behind each of the three names, and `last` for the newest slot. `n` and `leg` are the limit and the
-- whole of the leg that was last held on.
-- `alerts` is a hash of alerts that were not delivered: until when somebody has one in hand (- while no clock has looked
-- at it), spent, limit, percent, the index of its leg, and the legs of its hold.
-- `terms` is a hash of what was amended: by budget, its limit or -, 1 when it is paused, and amounts with their ends.
--
-- Every script reads and checks first and writes afterwards, because Redis does not undo what a script wrote before it
-- failed. Amounts are added by HINCRBY, in whole 64-bit numbers; they are compared as doubles, exact below 2^53.

local META, LEASES, WINDOWS, TERMS, ALERTS, HOLD, BEFORE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], 6
local MOST = 9007199254740991
local HARD, CALENDAR, ONE_RUN = string.byte('hco', 1, 3)

local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- Lua would write a large number as 1e+15.
local function whole(number)
  return string.format('%.0f', number)
end

local function reply(kind, seq, epoch, ...)
  return {kind, string.format('%d', seq), epoch, ...}
end

-- The ledger's epoch and number of its last write, and whether they are the ones (or later ones) the client has seen.
local function history(epoch, seq)
  local meta = redis.call('HMGET', META, 'epoch', 'seq')
  local now = tonumber(meta[2] or 0)
  local lost = epoch ~= '' and (meta[1] ~= epoch or now < tonumber(seq))
  return meta[1] or '', now, lost
end

-- What a budget's terms say of an instant: a limit, whether it is paused, what is added.
local function read_terms(text, at)
  if not text then return nil, false, 0 end
  local limit, paused, rest = string.match(text, '^(%S+) (%S+)(.*)$')
  local extra = 0
  for amount, ends in string.gmatch(rest, '(%S+) (%S+)') do
    if tonumber(ends) > at then extra = extra + tonumber(amount) end
  end
  return tonumber(limit), paused == '1', extra
end

-- Give each leg the limit that is in force for it at an instant, and say whether it is paused.
local function amend(legs, first, at)
  if redis.call('EXISTS', TERMS) == 0 then return end
  local names, text, place = {}, ARGV[first], 1
  while place <= #text do
    local length, start = string.match(text, '^(%d+):()', place)
    place = start + length
    names[#names + 1] = string.sub(text, start, place - 1)
  end
  if #names == 0 then return end
  local found = redis.call('HMGET', TERMS, unpack(names))
  for index, leg in ipairs(legs) do
    local own, group = found[2 * index - 1], names[2 * index] ~= '' and found[2 * index]
    if own or group then
      local limit, paused, extra = read_terms(own, at)
      local others, all_paused, more = read_terms(group, at)
      leg.paused = paused or all_paused
      local now = limit or others or leg.limit
      if extra + more > 0 then now = math.min(MOST, now + extra + more) end
      leg.amended, leg.limit = now ~= leg.limit, now
    end
  end
end

-- Read the rest of what is told of a leg.
local function in_full(leg)
  if leg.marks then return end
  local slots, slot, ends, marks = string.match(leg.rest, '^%S+ %S+ (%S+) (%S+) (%S+)(.*)$')
  leg.slots, leg.slot, leg.ends, leg.marks = tonumber(slots), tonumber(slot), tonumber(ends), marks
  if slots ~= '0' then leg.suffix = slot end
  if leg.kind == ONE_RUN then leg.ends, leg.kept = nil, leg.ends end
end

-- The legs told of from this argument on, with the limits in force at an instant.
local function legs_from(first, at)
  local legs = {}
  for index = 1, #KEYS - BEFORE do
    local limit, rest = ARGV[first + 2 * index - 2], ARGV[first + 2 * index - 1]
    local hard, kind = string.byte(rest, 1, 2)
    local leg = {
      key = KEYS[BEFORE + index], limit = tonumber(limit), told = limit, rest = rest, hard = hard == HARD, kind = kind,
      slots = 0, suffix = '',
    }
    if kind ~= CALENDAR then in_full(leg) end
    legs[index] = leg
  end
  amend(legs, first + 2 * #legs, at)
  return legs
end

-- A mark at its percentage of an amended limit; in two steps, as doubles count no product of both.
local function scaled(limit, parts)
  local millions = math.floor(limit / 1000000)
  return math.max(1, millions * parts + math.ceil((limit - millions * 1000000) * parts / 1000000))
end

-- Where the run of `slots` + 1 amounts begins that has the largest sum; the first of equals.
local function peak(amounts, slots)
  local total, first = 0, 1
  for index = 1, slots + 1 do total = total + amounts[index] end
  local most = total
  for start = 2, #amounts - slots do
    total = total + amounts[start + slots] - amounts[start - 1]
    if total > most then most, first = total, start end
  end
  return first
end

local function sum(amounts, first, slots)
  local total = 0
  for index = first, first + slots do total = total + amounts[index] end
  return total
end

-- The slots that share a rolling window with a leg's own. Those after the newest one are empty, and mostly this is
-- the newest.
local function around(leg)
  local newest = tonumber(redis.call('HGET', leg.key, 'last') or leg.slot)
  return leg.slot - leg.slots, leg.slot + math.max(0, math.min(leg.slots, newest - leg.slot))
end

-- What is known of a leg's window: whether it is there; spent and held in the fullest window its call belongs to; the
-- most that is spent in one.
local function read(leg)
  local slots = leg.slots
  if slots == 0 then
    local row = redis.call('HMGET', leg.key, 'p', 'h', 'n')
    local spent = tonumber(row[1] or 0)
    return {known = row[2] and true, spent = spent, held = tonumber(row[2] or 0), most = spent, limit = row[3]}
  end
  local oldest, newest = around(leg)
  local fields, count = {}, newest - oldest + 1
  for index = 1, count do
    local slot = oldest + index - 1
    fields[index], fields[count + index] = 'p' .. slot, 'h' .. slot
  end
  fields[2 * count + 1] = 'n'
  local found = redis.call('HMGET', leg.key, unpack(fields))
  local spent, held, both = {}, {}, {}
  for index = 1, count do
    spent[index], held[index] = tonumber(found[index] or 0), tonumber(found[count + index] or 0)
    both[index] = spent[index] + held[index]
  end
  local first = peak(both, slots)
  return {
    known = found[count + slots + 1] and true, limit = found[2 * count + 1],
    spent = sum(spent, first, slots), held = sum(held, first, slots), most = sum(spent, peak(spent, slots), slots),
  }
end

-- The highest mark told of a leg's window.
local function fired(leg)
  if leg.slots == 0 then return tonumber(redis.call('HGET', leg.key, 'f') or 0) end
  local fields, highest, oldest, newest = {}, 0, around(leg)
  for slot = oldest, newest do fields[#fields + 1] = 'f' .. slot end
  for _, mark in ipairs(redis.call('HMGET', leg.key, unpack(fields))) do
    highest = math.max(highest, tonumber(mark or 0))
  end
  return highest
end

-- Note the marks that a leg reaches with `total` spent, and add them to `crossings`.
local function crossed(crossings, index, leg, total)
  local least = string.match(leg.rest, '^%S+ (%S+)')
  if least == '-' or not leg.amended and tonumber(least) > total then return end
  in_full(leg)
  local place, told, highest = 0, nil, nil
  for percent, nano, parts in string.gmatch(leg.marks, '(%S+) (%S+) (%S+)') do
    if (leg.amended and scaled(leg.limit, tonumber(parts)) or tonumber(nano)) <= total then
      told = told or fired(leg)
      if tonumber(percent) > told then
        highest = percent
        table.insert(crossings, {tostring(index - 1), tostring(place), whole(total), whole(leg.limit)})
        redis.call('HSET', ALERTS, leg.key .. '|' .. leg.suffix .. '|' .. percent, table.concat(
          {'-', whole(total), whole(leg.limit), percent, index - 1, redis.call('HGET', HOLD, 'legs')}, ' '))
      end
    end
    place = place + 1
  end
  if highest then redis.call('HSET', leg.key, 'f' .. leg.suffix, highest) end
end

local function read_all(legs)
  local rows = {}
  for index, leg in ipairs(legs) do rows[index] = read(leg) end
  return rows
end

-- The hard legs on which `amount` more does not fit, or which are paused: each as its index, spent, held, the limit in
-- force, and 1 when it is paused.
local function refusals(legs, rows, amount)
  local found = {}
  for index, leg in ipairs(legs) do
    local row = rows[index]
    -- A call that costs nothing passes a budget that is spent or paused.
    if leg.hard and amount > 0 and (leg.paused or row.spent + row.held + amount > leg.limit) then
      table.insert(found, {
        tostring(index - 1), whole(row.spent), whole(row.held), whole(leg.limit), leg.paused and '1' or '0',
      })
    end
  end
  return found
end

-- When the lease of an open hold is over.
local function lease_of(id)
  return tonumber(redis.call('ZSCORE', LEASES, id) or clock())
end

-- Note until when a run is kept, by the lease of a call in it; in whole hours, so that it seldom changes. The reaper
-- keeps every window for `keep` after that, and a run needs no more than its own time.
local function renewed(leg, lease, keep)
  local until_then = (math.floor((lease + leg.kept) / 3600) + 1) * 3600
  local score = string.format('%.17g', until_then - keep)
  if redis.call('ZADD', WINDOWS, 'GT', 'CH', score, 'w' .. leg.key) > 0 then
    redis.call('EXPIRE', leg.key, math.ceil(math.max(0, until_then - clock()) + 86400))
  end
end

-- Note when a new window can be forgotten: at its end, or for a slot once no rolling window reaches it.
local function noted(leg, lease, keep)
  in_full(leg)
  if leg.kept then return renewed(leg, lease, keep) end
  if leg.slots > 0 then
    local newest = tonumber(redis.call('HGET', leg.key, 'last') or -1)
    redis.call('HSET', leg.key, 'last', string.format('%d', math.max(newest, leg.slot)))
  end
  local member = leg.slots == 0 and 'w' .. leg.key or 'r' .. leg.suffix .. ':' .. leg.key
  redis.call('ZADD', WINDOWS, leg.ends and string.format('%.17g', leg.ends) or '+inf', member)
  if not leg.ends then return end
  -- The reaper forgets it; this is for when nobody reaps. A client whose clock is behind still gets its window.
  redis.call('EXPIRE', leg.key, math.ceil(math.max(0, leg.ends - clock()) + keep + 86400))
end

local function hold(legs, rows, amount, lease, keep)
  for index, leg in ipairs(legs) do
    redis.call('HINCRBY', leg.key, 'h' .. leg.suffix, amount)
    if leg.kept or not rows[index].known then noted(leg, lease, keep) end
  end
end
