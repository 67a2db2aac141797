-- Delete windows that are over and in which nothing is held. ARGV: the members of `windows`, one for each key.
for index, member in ipairs(ARGV) do
  local key, slot = KEYS[BEFORE + index], string.match(member, '^r(%-?%d+):') or ''
  if tonumber(redis.call('HGET', key, 'h' .. slot) or 0) <= 0 then
    if slot == '' then
      redis.call('DEL', key)
    else
      redis.call('HDEL', key, 'p' .. slot, 'h' .. slot, 'f' .. slot)
      local described = 2 * redis.call('HEXISTS', key, 'leg')
      if redis.call('HLEN', key) <= 1 + described then redis.call('DEL', key) end
    end
    redis.call('ZREM', WINDOWS, member)
  end
end
return #ARGV
