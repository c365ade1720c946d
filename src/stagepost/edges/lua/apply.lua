-- Apply one batch, or a part of one, to a partition of the mirror: compare-and-set from one batch number to another.
--
-- KEYS: checkpoint, timers.
-- ARGV: expected seq, nonce, seq to be at then, application, number of the part in it, step that its first part begins
--       on, prefix of the buckets, number of checkpoint arguments, checkpoint field and value in turn, then four for each
--       change: bucket, state key, value ('' removes), due ('' none).
-- Returns 'ok', 'already' or 'gap'.
local at = redis.call('HMGET', KEYS[1], 'seq', 'nonce', 'step')
if at[2] ~= ARGV[2] then
  return 'gap'
end
if at[1] ~= ARGV[1] then
  if tonumber(at[1]) >= tonumber(ARGV[3]) then
    return 'already'
  end
  return 'gap'
end
-- What the former parts wrote must be there still (ports.Part).
local step = at[3] or ''
if not (ARGV[5] == '0' and step == ARGV[6]) then
  local own = ARGV[4] .. ':'
  if ARGV[4] == '' or string.sub(step, 1, #own) ~= own then
    return 'gap'
  end
  if (tonumber(string.sub(step, #own + 1)) or -1) < tonumber(ARGV[5]) then
    return 'gap'
  end
end
-- The first write must be one that Redis refuses when memory is full: then nothing at all happens. And should a later
-- one fail, a script is not undone: the mark then says that this is no whole batch.
redis.call('HSET', KEYS[1], 'partial', '1')
local first = 9 + tonumber(ARGV[8])
for i = first, #ARGV, 4 do
  local id = ARGV[i + 1]
  if ARGV[i + 2] == '' then
    redis.call('HDEL', ARGV[7] .. ARGV[i], id)
  else
    redis.call('HSET', ARGV[7] .. ARGV[i], id, ARGV[i + 2])
  end
  if ARGV[i + 3] == '' then
    redis.call('ZREM', KEYS[2], id)
  else
    redis.call('ZADD', KEYS[2], ARGV[i + 3], id)
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 9, first - 1))
return 'ok'
