-- One atomic read of a session, with the id up to which it is true.
-- KEYS 1 meta  2 session  3 messages  4 tasks       ARGV 1 messages and tasks at most, the newest
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'n', 'deleted', 'at')
local records = {}
for i, id in ipairs(redis.call('LRANGE', KEYS[4], -ARGV[1], -1)) do
  records[i] = redis.call('HGETALL', KEYS[4] .. ':' .. id)
end
return {meta[1] or '', meta[2] or '', meta[3] or '', meta[4] or '0', redis.call('HGETALL', KEYS[2]),
  redis.call('LRANGE', KEYS[3], -ARGV[1], -1), records}
