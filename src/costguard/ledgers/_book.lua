-- The arithmetic of costguard._book for Redis, put in front of each of the scripts beside it.
--
-- KEYS: meta, leases, windows, hold, and then the window of each leg, all in one hash slot.
-- A leg is an array as `_stepped.legs_as_json` writes it:
--   budget, window, limit, starts, ends, hard, marks, scope, slots
-- A window is a hash: p spent, h held, f the highest mark told. The slots of a rolling budget share one hash, with the
-- slot's number behind each of the three names, and `last` for the newest slot.
--
-- Every script reads and checks first and writes afterwards, because Redis does not undo what a script wrote before it
-- failed. Amounts are added by HINCRBY, in whole 64-bit numbers; they are compared as doubles, exact below 2^53.

local META, LEASES, WINDOWS, HOLD, BEFORE = KEYS[1], KEYS[2], KEYS[3], KEYS[4], 4

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

local function suffix(leg)
  return leg[9] == 0 and '' or string.format('%d', tonumber(leg[2]))
end

-- Whether the client named the windows of these very legs.
local function named(legs, prefix)
  if #KEYS ~= BEFORE + #legs then return false end
  for index, leg in ipairs(legs) do
    local window = leg[9] == 0 and 'w:' .. #leg[1] .. ':' .. leg[1] .. ':' .. leg[2] or 'rolling:' .. leg[1]
    if KEYS[BEFORE + index] ~= prefix .. window then return false end
  end
  return true
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

-- The slots that share a rolling window with a leg's own: spent, held and marks told of each, oldest first.
local function around(key, leg)
  local this, slots = tonumber(leg[2]), leg[9]
  -- Slots after the newest one are empty, and mostly this is the newest.
  local newest = tonumber(redis.call('HGET', key, 'last') or this)
  local upto = this + math.max(0, math.min(slots, newest - this))
  local fields, count = {}, upto - this + slots + 1
  for index = 1, count do
    local slot = string.format('%d', this - slots + index - 1)
    fields[3 * index - 2], fields[3 * index - 1], fields[3 * index] = 'p' .. slot, 'h' .. slot, 'f' .. slot
  end
  local found = redis.call('HMGET', key, unpack(fields))
  local spent, held, fired = {}, {}, 0
  for index = 1, count do
    spent[index] = tonumber(found[3 * index - 2] or 0)
    held[index] = tonumber(found[3 * index - 1] or 0)
    fired = math.max(fired, tonumber(found[3 * index] or 0))
  end
  return spent, held, fired, found[3 * slots + 2] and true
end

-- What is known of a leg's window: whether it is there; spent and held in the fullest window its call belongs to; the
-- most that is spent in one; the highest mark told.
local function read(key, leg)
  local slots = leg[9]
  if slots == 0 then
    local row = redis.call('HMGET', key, 'p', 'h', 'f')
    local spent, held = tonumber(row[1] or 0), tonumber(row[2] or 0)
    return {known = row[2] and true, spent = spent, held = held, most = spent, fired = tonumber(row[3] or 0)}
  end
  local spent, held, fired, known = around(key, leg)
  local both = {}
  for index = 1, #spent do both[index] = spent[index] + held[index] end
  local first = peak(both, slots)
  return {
    known = known, spent = sum(spent, first, slots), held = sum(held, first, slots),
    most = sum(spent, peak(spent, slots), slots), fired = fired,
  }
end

local function read_all(legs)
  local rows = {}
  for index, leg in ipairs(legs) do rows[index] = read(KEYS[BEFORE + index], leg) end
  return rows
end

-- The hard legs on which `amount` more does not fit, each as its index, spent and held.
local function refusals(legs, rows, amount)
  local found = {}
  for index, leg in ipairs(legs) do
    local row = rows[index]
    -- A call that costs nothing passes a spent budget.
    if leg[6] and amount > 0 and row.spent + row.held + amount > leg[3] then
      table.insert(found, {tostring(index - 1), whole(row.spent), whole(row.held)})
    end
  end
  return found
end

-- Note when a new window can be forgotten: at its end, or for a slot once no rolling window reaches it.
local function noted(key, leg, keep)
  if leg[9] > 0 then
    local newest = tonumber(redis.call('HGET', key, 'last') or -1)
    redis.call('HSET', key, 'last', string.format('%d', math.max(newest, tonumber(leg[2]))))
  end
  if leg[5] == cjson.null then return end
  local ends = leg[5] + leg[9] * (leg[5] - leg[4])
  local member = leg[9] == 0 and 'w' .. key or 'r' .. suffix(leg) .. ':' .. key
  redis.call('ZADD', WINDOWS, string.format('%.17g', ends), member)
  -- The reaper forgets it; this is for when nobody reaps. A client whose clock is behind still gets its window.
  redis.call('EXPIRE', key, math.ceil(math.max(0, ends - clock()) + keep + 86400))
end

local function hold(legs, rows, amount, keep)
  for index, leg in ipairs(legs) do
    local key = KEYS[BEFORE + index]
    redis.call('HINCRBY', key, 'h' .. suffix(leg), amount)
    if not rows[index].known then noted(key, leg, keep) end
  end
end
