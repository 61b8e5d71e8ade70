-- What was said to a task and not heard yet. Where that is nothing and the attempt looks for the last time, it says so in
-- the record: request.lua then takes no more from anybody, as long as this attempt holds the task.
-- KEYS 1 task  2 control       ARGV 1 fence  2 '1': the last look
local requests, said = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #requests, 2 do
  if string.sub(requests[i], 1, 6) == 'input:' then
    said[#said + 1] = requests[i]
    said[#said + 1] = requests[i + 1]
  end
end
if #said == 0 and ARGV[2] == '1' and redis.call('HGET', KEYS[1], 'fence') == ARGV[1] then
  -- A full store refuses this, as it refuses whatever would be said: the task ends all the same.
  redis.pcall('HSET', KEYS[1], 'deaf', ARGV[1])
end
return said
