-- Add to what is told of contacts, and keep the newest.
--
-- KEYS: checkpoint. ARGV: prefix of the lists, how many are kept of a contact, then contact and packed move in turn ('' forgets all).
for i = 3, #ARGV, 2 do
  local list = ARGV[1] .. ARGV[i]
  if ARGV[i + 1] == '' then
    redis.call('UNLINK', list)
  else
    redis.call('RPUSH', list, ARGV[i + 1])
    redis.call('LTRIM', list, -ARGV[2], -1)
  end
end
return 'ok'
