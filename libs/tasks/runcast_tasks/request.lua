-- Leaves a control request for the running attempt; the first of its kind stays. The attempt learns of it by the
-- alert, with the answer to its next append, or when it looks.
-- KEYS 1 task  2 control       ARGV 1 kind  2 JSON  3 channel of alerts  4 the task, as they name it
local state = redis.call('HGET', KEYS[1], 'state')
if not state then return 'none' end
if state == 'running' then
  redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2])
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return state
