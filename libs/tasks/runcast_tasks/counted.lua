-- Ends a census: the queue store was told of everything, unless it was lost again meanwhile, and the lock with it.
-- KEYS 1 counted  2 census       ARGV 1 who counted  2 the servers' run ids from before
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[2])
return 1
