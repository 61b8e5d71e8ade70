-- Claims the session's head task, whoever rang: raises the fence, counts the attempt, takes the lease, all before
-- anything runs. A claim that is retried after a lost reply (same random) is answered as the first.
-- KEYS 1 meta  2 queue  3 tasks  4 lease       ARGV 1 random  2 worker  3 lease ms  4 crashes that are too many ('': none)
local function answer(task, fence)
  return {'OK', task, fence, redis.call('HGETALL', KEYS[3] .. ':' .. task)}
end
if redis.call('HEXISTS', KEYS[1], 'deleted') == 1 then return {'NONE', 'deleted'} end
local head = redis.call('LINDEX', KEYS[2], 0)
if not head then return {'NONE', 'idle'} end
local record = redis.call('HMGET', KEYS[3] .. ':' .. head, 'state', 'fence', 'crashes')
local lease = redis.call('GET', KEYS[4])
if lease then
  local fence = record[2] or ''
  if lease == head .. '|' .. fence and string.match(fence, '^%d+:(.*)$') == ARGV[1] then return answer(head, fence) end
  return {'NONE', 'held'}
end
if record[1] ~= 'queued' then return {'NONE', record[1] or 'lost'} end
if ARGV[4] ~= '' and tonumber(record[3] or '0') >= tonumber(ARGV[4]) then return {'LATER', head} end
local fence = string.format('%.0f', redis.call('HINCRBY', KEYS[1], 'fence', 1)) .. ':' .. ARGV[1]
redis.call('HSET', KEYS[3] .. ':' .. head, 'fence', fence, 'seq', '0', 'worker', ARGV[2])
redis.call('HINCRBY', KEYS[3] .. ':' .. head, 'attempt', 1)
redis.call('SET', KEYS[4], head .. '|' .. fence, 'PX', ARGV[3])
return answer(head, fence)
