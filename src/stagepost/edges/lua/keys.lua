-- State keys of some buckets together with the batch that they show.
--
-- KEYS: checkpoint. ARGV: prefix of the buckets, first bucket, bucket to end before, how many keys are enough.
-- Returns seq, nonce, the bucket after the last one that was looked into, then the keys; nothing without a checkpoint.
local at = redis.call('HMGET', KEYS[1], 'seq', 'nonce')
if not at[1] then
  return {}
end
local bucket, last, enough = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
at[3] = ''
while bucket < last and #at - 3 < enough do
  for _, key in ipairs(redis.call('HKEYS', ARGV[1] .. bucket)) do
    at[#at + 1] = key
  end
  bucket = bucket + 1
end
at[3] = tostring(bucket)
return at
