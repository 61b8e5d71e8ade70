-- Renews a lease. Uses only commands that a full store allows, unless the lease had lapsed: then it may be taken again
-- while the fence is still ours (freeing first, so that this too fits) and the attempt has not given its task up: a
-- queued task of which the fence has written something was requeued by it, and a renewal that comes late would keep
-- everybody else from it for a whole lease.
-- KEYS 1 lease  2 task       ARGV 1 task id  2 fence  3 lease ms
local function fence_number(text) return tonumber(string.match(text or '', '^(%d+):')) or 0 end
local holder = ARGV[1] .. '|' .. ARGV[2]
local lease = redis.call('GET', KEYS[1])
if lease == holder then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
  return 'KEPT'
end
local record = redis.call('HMGET', KEYS[2], 'fence', 'state', 'seq')
if fence_number(record[1]) < fence_number(ARGV[2]) then return 'REWOUND' end
local held = record[2] == 'running' or (record[2] == 'queued' and (record[3] or '0') == '0')
if lease or record[1] ~= ARGV[2] or not held then return 'LOST' end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], holder, 'PX', ARGV[3])
return 'RETAKEN'
