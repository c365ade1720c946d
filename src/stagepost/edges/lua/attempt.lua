-- Remove the mark of a batch that was begun, unless another process has begun one since.
--
-- KEYS: attempt. ARGV: the process that made the mark.
if redis.call('HGET', KEYS[1], 'writer') == ARGV[1] then
  redis.call('UNLINK', KEYS[1])
end
return 'ok'
