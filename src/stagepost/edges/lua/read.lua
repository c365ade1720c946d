-- Values together with the batch that they show.
--
-- KEYS: checkpoint. ARGV: prefix of the buckets, then bucket and state key in turn.
-- Returns seq, nonce, partial, then one value (or nil) for each state key; nothing without a checkpoint.
local at = redis.call('HMGET', KEYS[1], 'seq', 'nonce', 'partial')
if not at[1] then
  return {}
end
for i = 2, #ARGV, 2 do
  at[#at + 1] = redis.call('HGET', ARGV[1] .. ARGV[i], ARGV[i + 1])
end
return at
