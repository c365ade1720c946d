-- Apply one batch, or a part of one, to a partition of the mirror: compare-and-set from one batch number to another.
--
-- KEYS: checkpoint, timers.
-- ARGV: expected seq, nonce, seq to be at then, prefix of the buckets, number of checkpoint arguments,
--       checkpoint field and value in turn, then four for each change: bucket, state key, value ('' removes), due ('' none).
-- Returns 'ok', 'already' or 'gap'.
local at = redis.call('HMGET', KEYS[1], 'seq', 'nonce')
if at[2] ~= ARGV[2] then
  return 'gap'
end
if at[1] ~= ARGV[1] then
  if tonumber(at[1]) >= tonumber(ARGV[3]) then
    return 'already'
  end
  return 'gap'
end
-- The first write must be one that Redis refuses when memory is full: then nothing at all happens. And should a later
-- one fail, a script is not undone: the mark then says that this is no whole batch.
redis.call('HSET', KEYS[1], 'partial', '1')
local first = 6 + tonumber(ARGV[5])
for i = first, #ARGV, 4 do
  local id = ARGV[i + 1]
  if ARGV[i + 2] == '' then
    redis.call('HDEL', ARGV[4] .. ARGV[i], id)
  else
    redis.call('HSET', ARGV[4] .. ARGV[i], id, ARGV[i + 2])
  end
  if ARGV[i + 3] == '' then
    redis.call('ZREM', KEYS[2], id)
  else
    redis.call('ZADD', KEYS[2], ARGV[i + 3], id)
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV, 6, first - 1))
return 'ok'
