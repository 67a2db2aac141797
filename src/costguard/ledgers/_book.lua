-- What the scripts beside this one share: the arithmetic of costguard._book for Redis.
--
-- KEYS: books, leases, windows, terms, alerts, hold, all in one hash slot.
-- `books` is a hash. Its field @ is the number of the last write, the ledger's epoch, and a + behind it once anything was
-- amended. Each window has one by its name: spent, held, and the limit of the leg that was last held on (- for none),
-- which is there in whole behind an l; and behind an f the highest mark told. Of a rolling budget each slot is one
-- (`r<slot>:<budget>`); for them all (`r:<budget>`) there is the leg behind l, behind a the newest slot, and behind c how
-- many there are.
-- `hold` is a text: the first letter of its state and a digest of its legs in one word, more words in the order of
-- `_redis_told.KEPT`, and the legs as JSON.
-- `leases` and `windows` tell the reaper when a hold, and a window, can be over.
-- `alerts` is a hash of alerts that were not delivered: until when somebody has one in hand (- while no clock has looked
-- at it), spent, limit, percent, the index of its leg, and the legs of its hold.
-- `terms` is a hash of what was amended: by budget, its limit or -, 1 when it is paused, and amounts with their ends.
--
-- Legs are told from one argument on, `first`, as `_redis_told` writes them: a letter for each (c a calendar window, o one
-- run, r a rolling one; a capital when it is hard), a digest of them, and what is rarely needed. What follows is what the
-- script needs of each leg most of the time.
--
-- Every script reads and checks first and writes afterwards, because Redis does not undo what a script wrote before it
-- failed. Amounts are compared as doubles, exact below 2^53, and written exactly above it too.
-- A function is made anew at every call, and takes as long as a field, an argument or a word does: so what only some calls
-- need is made by `aside`.

local BOOKS, LEASES, WINDOWS, TERMS, ALERTS, HOLD = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local MOST = 9007199254740991
local call, byte, sub, format, match = redis.call, string.byte, string.sub, string.format, string.match

local function clock()
  local time = call('TIME')
  return time[1] + time[2] / 1000000
end

-- The number of the last write, the epoch, and a + when anything was amended.
local function history(text)
  if not text then return 0, '-', '' end
  return match(text, '^(%d+) (%x+)(.*)$')
end

-- Whether writes are gone that the client has seen: a number, and an epoch or -.
local function lost(seq, epoch, number, seen)
  return seen ~= '-' and (epoch ~= seen or seq + 0 < number + 0)
end

-- An answer of several parts, with the history as a client remembers it. A grant that has nothing else to say is a status,
-- which is the fastest to read.
local function reply(kind, seq, epoch, ...)
  return {kind, format('%d %s', seq, epoch), ...}
end

-- A whole number, as text, and an amount more; `sum` is what doubles make of it.
local function plus(text, amount, sum)
  if sum < MOST and sum - amount < MOST then return format('%d', sum) end
  -- Doubles do not count every one any more: so in two parts, the lower of nine digits.
  local billions = math.floor(amount / 1000000000)
  local low = sub(text, -9) + (amount - billions * 1000000000)
  local carried = math.floor(low / 1000000000)
  local high = (tonumber(sub(text, 1, -10)) or 0) + billions + carried
  return format('%d%09d', high, low - carried * 1000000000)
end

-- What only some calls need: the legs, with everything that is told of them, and what is done with that. `names` is the
-- argument in front of the names of their windows.
local function aside(first, names)
  local legs, rest = {}, ARGV[first + 2]
  local over, from = string.find(rest, '\n\n', 1, true), 2
  for limit, slots, slot, ends, length, marks in string.gmatch(
    sub(rest, 1, over), '\n(%S+) (%S+) (%S+) (%S+) (%S+)([^\n]*)'
  ) do
    local leg = {
      name = ARGV[names + #legs + 1], limit = tonumber(limit), slots = tonumber(slots), slot = tonumber(slot),
      marks = marks, from = from, to = from + length - 1,
    }
    if leg.slots > 0 then leg.budget = match(leg.name, ':.*$') end
    -- + for a run: so long after the lease of its last call; - for never.
    if byte(ends) == 43 then leg.kept = tonumber(ends) else leg.ends = tonumber(ends) end
    legs[#legs + 1], from = leg, from + length + 1
  end

  -- Where the run of `slots` + 1 amounts begins that has the largest sum; the first of equals. And that sum.
  local function fullest(amounts, slots)
    local total, start = 0, 1
    for index = 1, slots + 1 do total = total + amounts[index] end
    local most = total
    for index = 2, #amounts - slots do
      total = total + amounts[index + slots] - amounts[index - 1]
      if total > most then most, start = total, index end
    end
    return start, most
  end

  -- The names of the slots that share a rolling window with a leg's own, each behind `letter`. Those after the newest one
  -- are empty, and mostly this is the newest.
  function legs.around(leg, letter)
    local newest = tonumber(call('HGET', BOOKS, 'ar' .. leg.budget) or leg.slot)
    local slots = {}
    for slot = leg.slot - leg.slots, leg.slot + math.max(0, math.min(leg.slots, newest - leg.slot)) do
      slots[#slots + 1] = letter .. 'r' .. format('%d', slot) .. leg.budget
    end
    return slots
  end

  -- What is spent and held in the fullest window that the call of a rolling leg belongs to, and the most that is spent in
  -- one.
  local function roll(leg)
    local spent, held, both = {}, {}, {}
    for index, row in ipairs(call('HMGET', BOOKS, unpack(legs.around(leg, '')))) do
      local p, h = match(row or '0 0', '^(%S+) (%S+)')
      spent[index], held[index], both[index] = tonumber(p), tonumber(h), p + h
    end
    local start = fullest(both, leg.slots)
    leg.spent, leg.held = 0, 0
    for index = start, start + leg.slots do
      leg.spent, leg.held = leg.spent + spent[index], leg.held + held[index]
    end
    start, leg.most = fullest(spent, leg.slots)
  end

  -- What a budget's terms say of an instant: a limit, whether it is paused, what is added.
  local function read(text, at)
    if not text then return nil, false, 0 end
    local limit, paused, added = match(text, '^(%S+) (%S+)(.*)$')
    local extra = 0
    for amount, ends in string.gmatch(added, '(%S+) (%S+)') do
      if tonumber(ends) > at then extra = extra + tonumber(amount) end
    end
    return tonumber(limit), paused == '1', extra
  end

  -- Give each leg the limit that is in force for it at an instant, and say whether it is paused.
  local function amend(at)
    local wanted, place = {}, over + 2
    while place <= #rest do
      local length, start = match(rest, '^(%d+):()', place)
      place = start + length
      wanted[#wanted + 1] = sub(rest, start, place - 1)
    end
    local found = wanted[1] and call('HMGET', TERMS, unpack(wanted))
    for index, leg in ipairs(legs) do
      local own, group = found[2 * index - 1], wanted[2 * index] ~= '' and found[2 * index]
      if own or group then
        local limit, paused, extra = read(own, at)
        local others, all_paused, more = read(group, at)
        leg.paused = paused or all_paused
        local now = limit or others or leg.limit
        if extra + more > 0 then now = math.min(MOST, now + extra + more) end
        leg.amended, leg.limit = now ~= leg.limit, now
      end
    end
  end

  -- See to the terms, if anything was amended, and to rolling windows.
  function legs.in_force(amended, at)
    if amended then amend(at + 0) end
    for _, leg in ipairs(legs) do
      if leg.budget then roll(leg) end
    end
    return legs
  end

  -- Note when a window can be forgotten: a new one at its end, for a slot once no rolling window reaches it, and a run by
  -- the lease of each call in it; in whole hours, so that it seldom changes. The reaper keeps every window for `keep`
  -- after that, and a run needs no more than its own time.
  function legs.note(leg, lease, keep)
    if leg.kept then
      local until_then = (math.floor((lease + leg.kept) / 3600) + 1) * 3600
      call('ZADD', WINDOWS, 'GT', format('%.17g', until_then - keep), leg.name)
      return
    end
    if leg.budget then
      local newest = tonumber(call('HGET', BOOKS, 'ar' .. leg.budget) or leg.slot)
      call('HSET', BOOKS, 'ar' .. leg.budget, format('%d', math.max(newest, leg.slot)))
      call('HINCRBY', BOOKS, 'cr' .. leg.budget, 1)
    end
    call('ZADD', WINDOWS, leg.ends and format('%.17g', leg.ends) or '+inf', leg.name)
  end
  return legs
end

-- `aside`, if a leg's own window does not say everything: when anything was amended, and for rolling budgets.
local function peculiar(first, names, amended, at)
  if amended ~= '' or string.find(ARGV[first], '[rR]') then
    return aside(first, names).in_force(amended ~= '', at)
  end
end
