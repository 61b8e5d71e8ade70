-- The newest messages of a session that fit, oldest first, and the tasks that live. One atomic, bounded read.
-- KEYS 1 messages  2 queue       ARGV 1 messages at most  2 bytes at most (the newest is given whatever its size)
local messages, bytes = {}, 0
for i = 1, math.min(redis.call('LLEN', KEYS[1]), tonumber(ARGV[1])) do
  local message = redis.call('LINDEX', KEYS[1], -i)
  bytes = bytes + #message
  if i > 1 and bytes > tonumber(ARGV[2]) then break end
  table.insert(messages, 1, message)
end
return {messages, redis.call('LRANGE', KEYS[2], 0, -1)}
