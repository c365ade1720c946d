-- Remove everything of a partition and set a fresh checkpoint.
--
-- KEYS: checkpoint, timers. ARGV: prefix of the buckets, number of buckets, then checkpoint field and value in turn.
redis.call('UNLINK', KEYS[1], KEYS[2])
for i = 0, tonumber(ARGV[2]) - 1 do
  redis.call('UNLINK', ARGV[1] .. i)
end
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
return 'ok'
