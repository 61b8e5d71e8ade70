-- Leaves a control request for an attempt, which learns of it by the alert, with the answer to its next append, or when
-- it looks. Of a kind that is one of its sort (cancel, pause) the first stays, and only a running task is asked. What is
-- said to a task (input) waits in its order, for the next attempt too, unless the one that runs has looked for the last
-- time (hear.lua). With an id it is taken once, however often it is said.
-- KEYS 1 task  2 control       ARGV 1 kind  2 JSON  3 channel of alerts  4 the task, as they name it  5 inputs at most
--      6 id of an input ('': none)
local state, fence, deaf = unpack(redis.call('HMGET', KEYS[1], 'state', 'fence', 'deaf'))
if not state then return 'none' end
local ended = state == 'complete' or state == 'failed' or state == 'cancelled'
if ARGV[1] == 'input' then
  local said = ARGV[6] ~= '' and 'said:' .. ARGV[6]
  local before = said and redis.call('HGET', KEYS[1], said)
  if before then return before == redis.sha1hex(ARGV[2]) and 'said ' .. state or 'other' end
  if ended then return state end
  if state == 'running' and deaf == fence then return 'ending' end
  if redis.call('HLEN', KEYS[2]) >= tonumber(ARGV[5]) then return 'full' end
  local now = redis.call('TIME')
  local field = string.format('input:%d%06d:%06d', now[1], now[2], redis.call('HLEN', KEYS[2]))
  redis.call('HSET', KEYS[2], field, ARGV[2])
  if said then redis.call('HSET', KEYS[1], said, redis.sha1hex(ARGV[2])) end
elseif ARGV[1] == 'resume' and (state == 'queued' or state == 'running') then
  -- Its attempt may have found the pause already: then it pauses, and whoever finds this has it go on.
  if redis.call('HDEL', KEYS[2], 'pause') == 0 then return state end
  redis.call('HSET', KEYS[2], 'resume', ARGV[2])
elseif state == 'running' then
  if ARGV[1] == 'pause' then redis.call('HDEL', KEYS[2], 'resume') end
  redis.call('HSETNX', KEYS[2], ARGV[1], ARGV[2])
else
  return state
end
redis.call('PUBLISH', ARGV[3], ARGV[4])
return state
