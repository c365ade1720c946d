-- Add older moves before what is told of contacts, where there is room and they are not there yet; '' when the mirror is another one.
--
-- KEYS: checkpoint, mark. ARGV: nonce, mark ('' leaves it), prefix of the lists, how many are kept of a contact, then contact and packed move in turn, the newest first.
if redis.call('HGET', KEYS[1], 'nonce') ~= ARGV[1] then
  return ''
end
for i = 5, #ARGV, 2 do
  local list = ARGV[3] .. ARGV[i]
  if redis.call('LLEN', list) < tonumber(ARGV[4]) and not redis.call('LPOS', list, ARGV[i + 1]) then
    redis.call('LPUSH', list, ARGV[i + 1])
  end
end
if ARGV[2] ~= '' then
  redis.call('SET', KEYS[2], ARGV[2])
end
return 'ok'
