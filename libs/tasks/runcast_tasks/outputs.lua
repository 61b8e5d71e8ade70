-- Keeps what a tool call came to, in pieces, while it comes. Fenced: only the attempt that holds the running task writes,
-- since the append that ends the task gives these keys their TTL. A repeated piece is answered as the first.
-- KEYS 1 meta  2 task  3 outputs  4 the output      (all in the slot {tenant:session})
-- ARGV 1 'piece' | 'whole' | 'drop'  2 fence  3 name `<task>:<call>`  4 bytes before this piece, or in all  5 the piece
--      6 bytes of all outputs of the session at most
-- The field `name` of the index holds the writer's fence, and `<fence> <bytes>` once the output is whole.
local action, fence, name, offset = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if redis.call('HEXISTS', KEYS[1], 'deleted') == 1 then return 'GONE' end
local record = redis.call('HMGET', KEYS[2], 'fence', 'state')
if record[1] ~= fence or record[2] ~= 'running' then return 'FENCED' end
local writer = redis.call('HGET', KEYS[3], name)
local length = redis.call('STRLEN', KEYS[4])
if action == 'whole' then
  if length ~= offset or (writer ~= fence and writer ~= fence .. ' ' .. length) then return 'BROKEN' end
  redis.call('HSET', KEYS[3], name, fence .. ' ' .. length)
  return 'OK'
end

local function forget(field)
  local key = KEYS[3] .. ':' .. field
  local bytes = redis.call('STRLEN', key)
  redis.call('DEL', key)
  redis.call('HDEL', KEYS[3], field)
  if tonumber(redis.call('HINCRBY', KEYS[3], 'bytes', -bytes)) <= 0 then redis.call('DEL', KEYS[3]) end
end

-- What is there of another attempt's call gives way to this one's; what is given up makes room.
local ours = writer and (writer == fence or string.sub(writer, 1, #fence + 1) == fence .. ' ')
if writer and ((action == 'drop' and ours) or (action == 'piece' and writer ~= fence and offset == 0)) then
  forget(name)
  writer, length = false, 0
end
if action == 'drop' then return 'OK' end

local piece = ARGV[5]
if length > 0 and writer ~= fence then return 'BROKEN' end
if length == offset + #piece then return 'OK' end
if length ~= offset then return 'BROKEN' end
local function full() return tonumber(redis.call('HGET', KEYS[3], 'bytes') or '0') + #piece > tonumber(ARGV[6]) end
if full() then
  -- What another attempt left unfinished nobody can finish or read.
  local index = redis.call('HGETALL', KEYS[3])
  for i = 1, #index, 2 do
    local field, by = index[i], index[i + 1]
    if field ~= 'bytes' and by ~= fence and not string.find(by, ' ', 1, true) then forget(field) end
  end
  if full() then return 'FULL' end
end
redis.call('APPEND', KEYS[4], piece)
redis.call('HSET', KEYS[3], name, fence)
redis.call('HINCRBY', KEYS[3], 'bytes', #piece)
return 'OK'
