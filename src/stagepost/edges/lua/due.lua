-- Timers together with the batch that they show, those that are due first.
--
-- KEYS: checkpoint, timers. ARGV: time behind which they are wanted, how many are enough.
-- Returns seq, nonce, partial, the time up to which they are all here ('' when there are no others), then state key and
-- time in turn, some twice; nothing without a checkpoint.
local at = redis.call('HMGET', KEYS[1], 'seq', 'nonce', 'partial')
if not at[1] then
  return {}
end
at[3] = at[3] or ''
at[4] = ''
local found = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for _, each in ipairs(found) do
  at[#at + 1] = each
end
if #found == 2 * tonumber(ARGV[2]) then
  -- All that are due with the last one belong to these, so that whoever asks again can go on behind it.
  at[4] = found[#found]
  for _, each in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], at[4], at[4], 'WITHSCORES')) do
    at[#at + 1] = each
  end
end
return at
