"""The census: finds every session of the events store again when one of the stores may have lost something.

How that is noticed: the queue store holds a mark, its own server's run id and that of the events store of which it was
told. It is missing in a store that is new or was emptied, and another one after a restart, a restore or a failover,
each of which may cost the newest writes or many. An events store that lost the end of a task has it live again, and
nobody has a hint of it. Why: docs/decisions/0013-a-queue-store-is-told-again.md.
"""

import asyncio
import logging
import re
import secrets

from redis.asyncio import Redis
from redis.exceptions import RedisError

from runcast_events.errors import InvalidId
from runcast_events.ids import check_session_id, check_tenant
from runcast_events.keys import Keyspace
from runcast_events.redis import run_id
from runcast_events.script import Script
from runcast_tasks.queue import Queue

logger = logging.getLogger(__name__)

LOCK_MS = 15_000
"""A census that is not heard of for so long is begun anew, by anybody."""
KEYS_AT_ONCE = 1000
SESSIONS_AT_ONCE = 50
TASKS_AT_ONCE = 500
PAUSE_S = 0.005
"""After each slice: others use the stores too."""


class Lapsed(Exception):
    """The lock is gone or another's: who counts stops."""


class Census:
    """One per process; of all of them one counts at a time. What is counted twice is counted once."""

    def __init__(self, events: Redis, queue_redis: Redis, keyspace: Keyspace, queue: Queue) -> None:
        self._events, self._redis, self._keyspace, self._queue = events, queue_redis, keyspace, queue
        self._name = secrets.token_hex(8)
        self._counted = Script.packaged(queue_redis, "runcast_tasks", "counted.lua")
        self._session = re.compile(re.escape(keyspace.prefix) + r"\{([^{}:]*):([^{}]*)\}:meta")

    async def run(self, every_s: float) -> None:
        """Look now and then, until cancelled."""
        while True:
            try:
                await self.look()
            except (RedisError, OSError, Lapsed) as error:
                logger.warning("the census waits: %s", str(error) or type(error).__name__)
            await asyncio.sleep(every_s)

    async def look(self) -> bool:
        """Count if that is due and nobody does; True when this was done. Raises RedisError, OSError, Lapsed."""
        keys, servers = self._queue.keys, f"{await run_id(self._redis)} {await run_id(self._events)}"
        if await self._redis.get(keys.counted) == servers.encode():
            return False
        if not await self._redis.set(keys.census, self._name, nx=True, px=LOCK_MS):
            return False
        sessions = await self._count()
        if not await self._counted(keys=[keys.counted, keys.census], args=[self._name, servers]):
            raise Lapsed("the queue store was lost again")
        level = logging.WARNING if sessions else logging.INFO
        logger.log(level, "a store is new or was restarted: the queue store was told of %d sessions", sessions)
        return True

    async def _count(self) -> int:
        """Every session that was there from the beginning to the end of this is found; later ones told the queue store
        themselves."""
        cursor, found = 0, 0
        while True:
            cursor, keys = await self._events.scan(cursor, f"{self._keyspace.prefix}{{*}}:meta", KEYS_AT_ONCE)
            names = [name for name in map(self._name_of, keys) if name is not None]
            for start in range(0, len(names), SESSIONS_AT_ONCE):
                found += await self._count_some(names[start : start + SESSIONS_AT_ONCE])
            await self._still_mine()
            if cursor == 0:
                return found
            await asyncio.sleep(PAUSE_S)

    async def _count_some(self, names: list[tuple[str, str]]) -> int:
        pipe = self._events.pipeline(transaction=False)
        for tenant, session_id in names:
            keys = self._keyspace.session(tenant, session_id)
            pipe.hexists(keys.meta, "deleted")
            pipe.hget(keys.session, "created_at")
            pipe.lrange(keys.queue, 0, -1)
            pipe.llen(keys.tasks)
        replies = await pipe.execute()
        there = 0
        for index, (tenant, session_id) in enumerate(names):
            deleted, created_at, live, tasks = replies[4 * index : 4 * index + 4]
            if deleted:
                continue
            there += 1
            # First what must run: whoever stops here has done that.
            await self._queue.expect_again(tenant, [raw.decode() for raw in live])
            active_ms = max(int(created_at or 0), await self._count_tasks(tenant, session_id, tasks))
            await self._queue.index_again(self._queue.keys.sessions(tenant), {session_id: active_ms})
        return there

    async def _count_tasks(self, tenant: str, session_id: str, count: int) -> int:
        """The ms of the newest."""
        keys, newest = self._keyspace.session(tenant, session_id), 0
        for start in range(0, count, TASKS_AT_ONCE):
            raw = await self._events.lrange(keys.tasks, start, start + TASKS_AT_ONCE - 1)  # type: ignore[misc]
            task_ids = [name.decode() for name in raw]
            pipe = self._events.pipeline(transaction=False)
            for task_id in task_ids:
                pipe.hget(keys.task(task_id), "created_at")
            created = {task_id: int(at) for task_id, at in zip(task_ids, await pipe.execute(), strict=True) if at}
            await self._queue.index_again(self._queue.keys.tasks(tenant), created)
            await self._still_mine()
            newest = max(newest, *created.values(), 0)
        return newest

    async def _still_mine(self) -> None:
        if await self._redis.get(self._queue.keys.census) != self._name.encode():
            raise Lapsed("another counts, or the queue store was lost again")
        await self._redis.pexpire(self._queue.keys.census, LOCK_MS)

    def _name_of(self, key: bytes) -> tuple[str, str] | None:
        match = self._session.fullmatch(key.decode(errors="replace"))
        try:
            return match and (check_tenant(match[1]), check_session_id(match[2]))
        except InvalidId:
            return None
