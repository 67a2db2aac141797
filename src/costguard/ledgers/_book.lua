-- What the scripts beside this one share: the arithmetic of costguard._book for Redis.
--
-- KEYS: books, leases, windows, terms, alerts, hold, all in one hash slot.
-- `books` is a hash: `epoch`, `seq` (of the last write), `terms` (1 once anything was amended), and for each window, with
-- its name behind the letter: p spent, h held, f the highest mark told, n and l the limit and the whole of the leg that
-- was last held on. A rolling budget has p, h and f for each of its slots (`r<slot>:<budget>`), and in all (`r:<budget>`)
-- n, l, a the newest slot, and c how many slots there are.
-- `hold` is a text, words in the order of `_redis_told.KEPT` with the legs as JSON behind them.
-- `leases` and `windows` tell the reaper when a hold, and a window, can be over.
-- `alerts` is a hash of alerts that were not delivered: until when somebody has one in hand (- while no clock has looked
-- at it), spent, limit, percent, the index of its leg, and the legs of its hold.
-- `terms` is a hash of what was amended: by budget, its limit or -, 1 when it is paused, and amounts with their ends.
--
-- Legs are told from one argument on, `first`, as `_redis_told` writes them: a letter for each (c a calendar window, o one
-- run, r a rolling one; a capital when it is hard), a digest of them, their details, and the names of their budgets and
-- groups. What follows is what the script needs of each leg most of the time.
--
-- Every script reads and checks first and writes afterwards, because Redis does not undo what a script wrote before it
-- failed. Amounts are compared as doubles, exact below 2^53, and above that added by HINCRBY, in whole 64-bit numbers.
-- A number that is handed to redis.call is written with 17 digits. Each function here is made anew at every call, which
-- takes as long as reading a field: so there are few, and what is rarely needed is inside them.

local BOOKS, LEASES, WINDOWS, TERMS, ALERTS, HOLD = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local MOST = 9007199254740991
local call, byte, sub, format, match = redis.call, string.byte, string.sub, string.format, string.match

local function clock()
  local time = call('TIME')
  return time[1] + time[2] / 1000000
end

-- Whether writes are gone that the client has seen.
local function lost(epoch, seq)
  return ARGV[1] ~= '' and (epoch ~= ARGV[1] or (seq or 0) + 0 < tonumber(ARGV[2]))
end

local function reply(kind, seq, epoch, ...)
  return {kind, format('%.0f', seq or 0), epoch or '', ...}
end

-- Everything that is told of each leg.
local function details(first)
  local legs, start = {}, 2
  for limit, slots, slot, ends, length, marks in string.gmatch(
    ARGV[first + 2], '(%S+) (%S+) (%S+) (%S+) (%S+)([^\n]*)\n'
  ) do
    local leg = {
      told = limit, limit = tonumber(limit), slots = tonumber(slots), slot = tonumber(slot), marks = marks,
      from = start, to = start + length - 1,
    }
    -- + for a run: so long after the lease of its last call; - for never.
    if byte(ends) == 43 then leg.kept = tonumber(ends) else leg.ends = tonumber(ends) end
    legs[#legs + 1], start = leg, start + length + 1
  end
  return legs
end

-- Where the run of `slots` + 1 amounts begins that has the largest sum; the first of equals.
local function fullest(amounts, slots)
  local total, first = 0, 1
  for index = 1, slots + 1 do total = total + amounts[index] end
  local most = total
  for start = 2, #amounts - slots do
    total = total + amounts[start + slots] - amounts[start - 1]
    if total > most then most, first = total, start end
  end
  return first, most
end

-- The slots that share a rolling window with a leg's own, each as the end of its fields' names. Those after the newest
-- one are empty, and mostly this is the newest.
local function around(leg, name)
  local rolling = match(name, ':.*$')
  local newest = tonumber(call('HGET', BOOKS, 'ar' .. rolling) or leg.slot)
  local slots = {}
  for slot = leg.slot - leg.slots, leg.slot + math.max(0, math.min(leg.slots, newest - leg.slot)) do
    slots[#slots + 1] = 'r' .. format('%d', slot) .. rolling
  end
  return slots
end

-- The legs in detail, when one of them needs more than the numbers of its own window: with the limits that are in force
-- at an instant, whether they are paused, and for a rolling one, by any of its fields' names, what is spent and held in
-- the fullest window its call belongs to, and the most that is spent in one.
local function peculiar(first, amended, at, names, step)
  if not amended and not string.find(ARGV[first], '[rR]') then return end
  local legs = details(first)

  local function rolled(leg, name)
    local slots, fields = around(leg, name), {}
    local count = #slots
    for index, slot in ipairs(slots) do fields[index], fields[count + index] = 'p' .. slot, 'h' .. slot end
    local found, spent, held, both = call('HMGET', BOOKS, unpack(fields)), {}, {}, {}
    for index = 1, count do
      spent[index], held[index] = tonumber(found[index] or 0), tonumber(found[count + index] or 0)
      both[index] = spent[index] + held[index]
    end
    local start = fullest(both, leg.slots)
    leg.spent, leg.held = 0, 0
    for index = start, start + leg.slots do
      leg.spent, leg.held = leg.spent + spent[index], leg.held + held[index]
    end
    start, leg.most = fullest(spent, leg.slots)
  end

  -- What a budget's terms say: a limit, whether it is paused, what is added.
  local function read(text)
    if not text then return nil, false, 0 end
    local limit, paused, rest = match(text, '^(%S+) (%S+)(.*)$')
    local extra = 0
    for amount, ends in string.gmatch(rest, '(%S+) (%S+)') do
      if tonumber(ends) > at then extra = extra + tonumber(amount) end
    end
    return tonumber(limit), paused == '1', extra
  end

  if amended then
    local wanted, text, place = {}, ARGV[first + 3], 1
    while place <= #text do
      local length, start = match(text, '^(%d+):()', place)
      place = start + length
      wanted[#wanted + 1] = sub(text, start, place - 1)
    end
    local found = wanted[1] and call('HMGET', TERMS, unpack(wanted))
    for index, leg in ipairs(legs) do
      local own, group = found[2 * index - 1], wanted[2 * index] ~= '' and found[2 * index]
      if own or group then
        local limit, paused, extra = read(own)
        local others, all_paused, more = read(group)
        leg.paused = paused or all_paused
        local now = limit or others or leg.limit
        if extra + more > 0 then now = math.min(MOST, now + extra + more) end
        leg.amended, leg.limit = now ~= leg.limit, now
      end
    end
  end
  for index, leg in ipairs(legs) do
    if leg.slots > 0 then rolled(leg, ARGV[names + step * index]) end
  end
  return legs
end

-- Note when a new window can be forgotten: at its end, for a slot once no rolling window reaches it, and of a run by the
-- lease of each call in it; in whole hours, so that it seldom changes. The reaper keeps every window for `keep` after
-- that, and a run needs no more than its own time.
local function noted(leg, field, lease, keep)
  local name = sub(field, 2)
  if leg.kept then
    return call('ZADD', WINDOWS, 'GT', (math.floor((lease + leg.kept) / 3600) + 1) * 3600 - keep, name)
  end
  if leg.slots > 0 then
    local rolling = 'r' .. match(name, ':.*$')
    local newest = tonumber(call('HGET', BOOKS, 'a' .. rolling) or leg.slot)
    call('HSET', BOOKS, 'a' .. rolling, math.max(newest, leg.slot))
    call('HINCRBY', BOOKS, 'c' .. rolling, 1)
  end
  call('ZADD', WINDOWS, leg.ends or '+inf', name)
end
