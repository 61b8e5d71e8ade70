-- Appends a batch of events to one session's log. The only writer of a log and of a task's state.
-- Contract and the order of the answers: docs/protocol.md, section 2. Lua does not roll back, so everything is
-- validated before the first write; and the first write of an ordinary append is its XADD, so that a full store
-- (noeviction) refuses it whole. Terminal events and checkpoints first free something, on purpose: a script whose
-- first write frees memory may exceed maxmemory, so that these still fit.
--
-- KEYS 1 events  2 meta  3 task  4 session  5 messages  6 queue  7 tasks  8 checkpoint  9 journal  10 control
--      11 lease  12 operation  13 outputs      (all in the slot {tenant:session}; other tasks' records: KEYS[7]..':'..id)
-- ARGV 1 'attempt' | 'control'  2 task id ('': none)  3 fence '<number>:<random>' | operation id
--      4 first sequence | legal states, comma separated ('': the table alone decides; 'at_rest': no live task at all)
--      5 publish command  6 channel  7 max bytes  8 max entries  9 session ttl ms  10 max publication bytes
--      11 count of events, then (type, payload) each; then (number of its event, kind, field, value) of each write
local TABLE = --[[state table]]
local TERMINAL = {complete = 1, failed = 1, cancelled = 1}
local OVERHEAD = 64         -- bytes an entry costs beside its payload, about (measured: 44 to 290)
local OPERATION_MS = 3600000

local attempt, task, writer = ARGV[1] == 'attempt', ARGV[2], ARGV[3]
local count = tonumber(ARGV[11])
local function int(x) return string.format('%.0f', x) end
local function fence_number(fence) return tonumber(string.match(fence or '', '^(%d+):')) or 0 end

local meta = redis.call('HMGET', KEYS[2], 'deleted', 'epoch', 'n', 'writer', 'bytes', 'trimmed', 'fence', 'expires')
local record = {}
if task ~= '' then record = redis.call('HMGET', KEYS[3], 'state', 'fence', 'seq', 'last_id') end
local state = record[1] or ''

-- GONE
local first_event = 1       -- the first one to write; those before it are known already
if meta[1] then return {'GONE', 'deleted'} end
if attempt then
  if state == '' then return {'GONE', 'lost'} end
else
  local creates = ARGV[12] == 'session_created'
  if creates and meta[2] then
    first_event = 2         -- the session is there: a second submitter's session_created is dropped
  elseif not creates and not meta[2] then
    return {'GONE', 'lost'}
  end
  if task ~= '' and state == '' then
    local queues = false
    for i = first_event, count do queues = queues or ARGV[10 + 2 * i] == 'task_queued' end
    if not queues then return {'GONE', 'lost'} end
  end
end

-- FENCED, REWOUND, DUP
local sequence = 0
if attempt then
  local ours, stored = fence_number(writer), fence_number(record[2])
  if ours < stored or (ours == stored and writer ~= record[2]) then return {'FENCED', record[2] or ''} end
  local first, known = tonumber(ARGV[4]), tonumber(record[3] or '0')
  if ours > stored then return {'REWOUND', '0', record[2] or '', record[3] or ''} end
  if first > known + 1 then return {'REWOUND', int(known), record[2], record[3] or ''} end
  if first + count - 1 <= known then return {'DUP', record[4] or '0-0'} end
  first_event = known - first + 2
  sequence = first + count - 1
else
  local answer = redis.call('GET', KEYS[12])
  if answer then return {'DUP', answer} end
  if first_event > count then return {'DUP', '0-0 0-0 '} end
end

-- TERMINAL, ILLEGAL
if TERMINAL[state] then return {'TERMINAL', state} end
if not attempt and ARGV[4] == 'at_rest' then
  if redis.call('LLEN', KEYS[6]) > 0 then return {'ILLEGAL', 'live', ''} end
elseif not attempt and ARGV[4] ~= '' and not string.find(',' .. ARGV[4] .. ',', ',' .. state .. ',', 1, true) then
  return {'ILLEGAL', state, ''}
end
local new_state, queued, started, deleted = state, false, false, false
for i = first_event, count do
  local event = ARGV[10 + 2 * i]
  local move = TABLE[event]
  if not move then return redis.error_reply('ERR unknown event type ' .. event) end
  if not move.from[new_state] then return {'ILLEGAL', new_state, event} end
  if event == 'session_deleted' then
    if redis.call('LLEN', KEYS[6]) > 0 then return {'ILLEGAL', 'live', event} end
    deleted = true
  end
  queued = queued or event == 'task_queued'
  started = started or event == 'task_started'
  new_state = move.to or new_state
end
local ends = TERMINAL[new_state]
local writes, checkpoint, interrupt = {}, false, nil
for i = 12 + 2 * count, #ARGV, 4 do
  if tonumber(ARGV[i]) >= first_event then
    local kind, field, value = ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    writes[#writes + 1] = {kind, field, value}
    checkpoint = checkpoint or kind == 'checkpoint'
    if kind == 'interrupt' then interrupt = value end
    if (kind == 'unchanged' and redis.call('HGET', KEYS[3], field) ~= value)
      or (kind == 'unheld' and redis.call('EXISTS', KEYS[11]) == 1) then return {'ILLEGAL', state, ''} end
  end
end

-- Everything is legal: write.
if ends then redis.call('DEL', KEYS[8], KEYS[9], KEYS[10]) elseif checkpoint then redis.call('DEL', KEYS[8]) end

local now = redis.call('TIME')
local at = int(now[1] * 1000 + math.floor(now[2] / 1000))
local epoch, n = tonumber(meta[2] or '0'), tonumber(meta[3] or '0')
local before = int(epoch) .. '-' .. int(n)
local this_writer = attempt and task .. '|' .. writer or writer
local opens = meta[4] ~= this_writer
if opens then
  local top = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
  local top_epoch = top and tonumber(string.match(top[1], '^(%d+)')) or 0
  if top_epoch > epoch then before = top[1] end
  epoch, n = math.max(tonumber(at), epoch + 1, top_epoch + 1), 0
end
local epoch_text = int(epoch)
local fence = attempt and int(fence_number(writer)) or (meta[7] or '0')
local bytes, trimmed = tonumber(meta[5] or '0'), tonumber(meta[6] or '0')
local first_id, last_id, publication, publication_bytes = nil, nil, {''}, 0
for i = first_event, count do
  local event, payload = ARGV[10 + 2 * i], ARGV[11 + 2 * i]
  local subject = (event == 'session_created' or event == 'session_deleted') and '' or task
  n = n + 1
  bytes = bytes + #payload + OVERHEAD
  last_id = epoch_text .. '-' .. int(n)
  local total = int(bytes)
  if first_id then
    redis.call('XADD', KEYS[1], last_id, 't', event, 'k', subject, 'f', fence, 'a', at, 's', total, 'p', payload)
  else
    first_id = last_id
    if opens then
      redis.call('XADD', KEYS[1], last_id, 't', event, 'k', subject, 'f', fence, 'a', at, 's', total, 'b', before,
        'p', payload)
    else
      redis.call('XADD', KEYS[1], last_id, 't', event, 'k', subject, 'f', fence, 'a', at, 's', total, 'p', payload)
    end
  end
  publication[#publication + 1] = last_id .. ' ' .. event .. ' ' .. (subject == '' and '-' or subject) .. ' ' ..
    fence .. ' ' .. total
  publication[#publication + 1] = payload
  publication_bytes = publication_bytes + #payload + OVERHEAD
end

-- Trim, exactly, and only what this batch pushed out: bounded work. What is retained is bytes - trimmed.
local max_bytes, max_entries = tonumber(ARGV[7]), tonumber(ARGV[8])
local length, pushed_out = redis.call('XLEN', KEYS[1]), 0
if bytes - trimmed > max_bytes or length > max_entries then
  local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', count + 64)
  local keep
  for i = 1, #oldest do
    keep = oldest[i][1]
    if keep == last_id or (bytes - trimmed <= max_bytes and length <= max_entries) then break end
    local fields = oldest[i][2]
    for j = 1, #fields, 2 do
      if fields[j] == 's' then trimmed = tonumber(fields[j + 1]) end
    end
    length, pushed_out, keep = length - 1, pushed_out + 1, nil
  end
  if not keep then
    local e, k = string.match(oldest[#oldest][1], '^(%d+)-(%d+)$')
    keep = e .. '-' .. int(tonumber(k) + 1)
  end
  redis.call('XTRIM', KEYS[1], 'MINID', keep)
end

-- The task's state, in the same step as the event that moves it.
local next_task = ''
if task ~= '' then
  if attempt then redis.call('HSET', KEYS[3], 'seq', int(sequence)) end
  redis.call('HSET', KEYS[3], 'state', new_state, 'last_id', last_id)
  if queued then
    redis.call('HSET', KEYS[3], 'id', task, 'created_at', at, 'after_id', before)
    local holder = interrupt and redis.call('LINDEX', KEYS[6], 0)
    if holder then
      -- Whatever becomes of who interrupts: the holder is asked to end in this same step, whoever runs or claims it.
      redis.call('LINSERT', KEYS[6], 'AFTER', holder, task)
      redis.call('HSETNX', string.sub(KEYS[10], 1, -#task - 1) .. holder, 'cancel', interrupt)
      next_task = holder
    else
      redis.call('RPUSH', KEYS[6], task)
    end
    redis.call('RPUSH', KEYS[7], task)
  end
  if started then redis.call('HSETNX', KEYS[3], 'started_at', at) end
  if ends then
    redis.call('HSET', KEYS[3], 'ended_at', at, 'terminal_id', last_id, 'outcome', ARGV[11 + 2 * count])
    redis.call('LREM', KEYS[6], 1, task)
    next_task = redis.call('LINDEX', KEYS[6], 0) or ''
  end
  if new_state == 'paused' then redis.call('HDEL', KEYS[10], 'pause') end
  if ends or (new_state ~= state and (state == 'running' or (state == 'queued' and not attempt))) then
    -- The hold ends here. Whoever takes it from an attempt, running or claimed and not started yet, also fences it.
    local lease = redis.call('GET', KEYS[11])
    local held = lease and string.sub(lease, 1, #task + 1) == task .. '|'
    if held then redis.call('DEL', KEYS[11]) end
    if not attempt and (state == 'running' or (held and not ends)) then
      local raised = int(redis.call('HINCRBY', KEYS[2], 'fence', 1))
      redis.call('HSET', KEYS[3], 'fence', raised .. ':' .. writer, 'seq', '0')
    end
  end
end
for _, write in ipairs(writes) do
  local kind, field, value = unpack(write)
  if kind == 'checkpoint' and not ends then redis.call('SET', KEYS[8], value)
  elseif kind == 'journal' and not ends then redis.call('HSET', KEYS[9], field, value)
  elseif kind == 'settled' then redis.call('HDEL', KEYS[9], field)
  elseif kind == 'record' then redis.call('HSET', KEYS[3], field, value)
  elseif kind == 'session' then redis.call('HSET', KEYS[4], field, value)
  elseif kind == 'message' then redis.call('RPUSH', KEYS[5], value)
  elseif kind == 'heard' then redis.call('HDEL', KEYS[10], field)
  elseif kind == 'tally' then
    redis.call('HINCRBYFLOAT', KEYS[3], 'usage_' .. field, value)
    redis.call('HINCRBYFLOAT', KEYS[4], 'usage_' .. field, value)
  end
end
local created = first_event == 1 and ARGV[12] == 'session_created'
if created then redis.call('HSET', KEYS[4], 'created_at', at) end

-- The session's life.
local function each_key(command, ...)
  for _, i in ipairs({1, 2, 4, 5, 6, 7, 13}) do redis.call(command, KEYS[i], ...) end
  for _, id in ipairs(redis.call('LRANGE', KEYS[7], 0, -1)) do redis.call(command, KEYS[7] .. ':' .. id, ...) end
  for _, name in ipairs(redis.call('HKEYS', KEYS[13])) do redis.call(command, KEYS[13] .. ':' .. name, ...) end
end
local answer = first_id .. ' ' .. last_id .. ' ' .. next_task
if not attempt then redis.call('SET', KEYS[12], answer, 'PX', OPERATION_MS) end
if deleted then
  for _, id in ipairs(redis.call('LRANGE', KEYS[7], 0, -1)) do redis.call('DEL', KEYS[7] .. ':' .. id) end
  for _, name in ipairs(redis.call('HKEYS', KEYS[13])) do redis.call('UNLINK', KEYS[13] .. ':' .. name) end
  redis.call('DEL', KEYS[4], KEYS[5], KEYS[6], KEYS[7], KEYS[13])
  redis.call('XTRIM', KEYS[1], 'MINID', last_id)
  redis.call('HSET', KEYS[2], 'deleted', last_id)
end
redis.call('HSET', KEYS[2], 'epoch', epoch_text, 'n', int(n), 'writer', this_writer, 'bytes', int(bytes),
  'trimmed', int(trimmed), 'at', at)
if deleted then
  redis.call('PEXPIRE', KEYS[1], ARGV[9])
  redis.call('PEXPIRE', KEYS[2], ARGV[9])
elseif (ends or created) and redis.call('LLEN', KEYS[6]) == 0 then
  redis.call('HSET', KEYS[2], 'expires', '1')
  each_key('PEXPIRE', ARGV[9])
elseif meta[8] and queued then
  redis.call('HDEL', KEYS[2], 'expires')
  each_key('PERSIST')
end

publication[1] = before .. ' ' .. last_id .. ' ' .. at
if publication_bytes <= tonumber(ARGV[10]) then
  redis.call(ARGV[5], ARGV[6], table.concat(publication, '\n'))
else
  redis.call(ARGV[5], ARGV[6], publication[1])
end
return {'OK', first_id, last_id, tostring(redis.call('HLEN', KEYS[10])), next_task, tostring(pushed_out)}
