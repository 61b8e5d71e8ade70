-- What was said to a task and not heard yet. Where that is nothing but what the attempt has read before, and it looks for
-- the last time, it says so in the record: request.lua then takes no more from anybody, as long as it holds the task. What
-- it has read waits here until the event that tells of it is in the log.
-- KEYS 1 task  2 control       ARGV 1 fence  2 '1': the last look  3… the names of what it has read before
local requests, said, read, new = redis.call('HGETALL', KEYS[2]), {}, {}, false
for i = 3, #ARGV do read[ARGV[i]] = true end
for i = 1, #requests, 2 do
  if string.sub(requests[i], 1, 6) == 'input:' then
    new = new or not read[requests[i]]
    said[#said + 1] = requests[i]
    said[#said + 1] = requests[i + 1]
  end
end
if not new and ARGV[2] == '1' and redis.call('HGET', KEYS[1], 'fence') == ARGV[1] then
  -- A full store refuses this, as it refuses whatever would be said: the task ends all the same.
  redis.pcall('HSET', KEYS[1], 'deaf', ARGV[1])
end
return said
