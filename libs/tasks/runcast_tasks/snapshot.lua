-- One atomic read of a session, with the id up to which it is true. Bounded, whatever the session holds: of a record
-- only the given fields are read, and of the messages, which may be long, the newest that fit.
-- KEYS 1 meta  2 session  3 messages  4 tasks
-- ARGV 1 messages and tasks at most  2 bytes of messages at most (the newest is given whatever its size)
--      3 and on: the fields of a record
local most = tonumber(ARGV[1])
local records = {}
for i, id in ipairs(redis.call('LRANGE', KEYS[4], -most, -1)) do
  records[i] = redis.call('HMGET', KEYS[4] .. ':' .. id, unpack(ARGV, 3))
end
local kept = redis.call('LLEN', KEYS[3])
local messages, bytes = {}, 0
for i = 1, math.min(kept, most) do
  local message = redis.call('LINDEX', KEYS[3], -i)
  bytes = bytes + #message
  if i > 1 and bytes > tonumber(ARGV[2]) then break end
  messages[i] = message
end
return {redis.call('HMGET', KEYS[1], 'epoch', 'n', 'deleted', 'at'),
  redis.call('HMGET', KEYS[2], 'title', 'created_at', 'plan', 'todos', 'forked_from', 'usage_input', 'usage_output', 'usage_cached',
    'usage_cost_usd', 'usage_unpriced'), messages, kept - #messages, records}
