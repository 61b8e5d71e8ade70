-- After REWOUND or GONE (lost): puts an attempt's hold back into a store that lost its tail, from the attempt's memory,
-- so that it can append what the store no longer has. The next append opens a new epoch.
--
-- KEYS as in append.lua
-- ARGV 1 task id  2 fence  3 sequence the store is to know  4 state ('': leave as it is)  5 lease ms
--      6, 7 the fence and sequence that the record was found with ('': no record)
--      8 count of record fields, then (field, value) each; then 0 | 1, checkpoint; then journal (field, value) each
local task, fence = ARGV[1], ARGV[2]
local function fence_number(text) return tonumber(string.match(text or '', '^(%d+):')) or 0 end

local meta = redis.call('HMGET', KEYS[2], 'deleted', 'fence')
if meta[1] then return {'GONE', 'deleted'} end
local record = redis.call('HMGET', KEYS[3], 'fence', 'state', 'seq')
local ours, stored = fence_number(fence), fence_number(record[1])
if ours < stored or (ours == stored and fence ~= record[1]) then return {'FENCED', record[1]} end
if record[2] == 'complete' or record[2] == 'failed' or record[2] == 'cancelled' then return {'TERMINAL', record[2]} end

-- Done already: this is a late or repeated copy of the call, which must not turn anything back.
if (record[1] or '') ~= ARGV[6] or (record[3] or '') ~= ARGV[7] then return {'OK'} end

local fields = tonumber(ARGV[8])
for i = 0, fields - 1 do redis.call('HSET', KEYS[3], ARGV[9 + 2 * i], ARGV[10 + 2 * i]) end
redis.call('HSET', KEYS[3], 'fence', fence, 'seq', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[3], 'state', ARGV[4]) end
redis.call('HSET', KEYS[2], 'writer', '')
if tonumber(meta[2] or '0') < ours then redis.call('HSET', KEYS[2], 'fence', string.format('%.0f', ours)) end
redis.call('HSETNX', KEYS[4], 'created_at', redis.call('HGET', KEYS[3], 'created_at') or '0')
if not redis.call('LPOS', KEYS[6], task) then redis.call('LPUSH', KEYS[6], task) end
if not redis.call('LPOS', KEYS[7], task) then redis.call('RPUSH', KEYS[7], task) end
redis.call('SET', KEYS[11], task .. '|' .. fence, 'PX', ARGV[5])

-- Over what the store still has of earlier attempts, which this one does not remember.
local at = 9 + 2 * fields
if ARGV[at] == '1' then redis.call('SET', KEYS[8], ARGV[at + 1]) end
for i = at + 2, #ARGV, 2 do redis.call('HSET', KEYS[9], ARGV[i], ARGV[i + 1]) end
if redis.call('HDEL', KEYS[2], 'expires') == 1 then
  for _, i in ipairs({1, 2, 4, 5, 6, 7, 13}) do redis.call('PERSIST', KEYS[i]) end
  for _, name in ipairs(redis.call('HKEYS', KEYS[13])) do redis.call('PERSIST', KEYS[13] .. ':' .. name) end
  for _, id in ipairs(redis.call('LRANGE', KEYS[7], 0, -1)) do redis.call('PERSIST', KEYS[7] .. ':' .. id) end
end
return {'OK'}
