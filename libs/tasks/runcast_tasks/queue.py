"""The queue: arq as a doorbell, and the indexes of the queue store. The only importer of arq's client.

A ring says "look at this session", no more: who may run what is decided by the claim. So a ring may be lost, doubled or
late without harm, and arq's own leases, retries and results are not used.
Why: docs/decisions/0003-arq-is-a-doorbell.md.
"""

import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from arq.connections import ArqRedis
from redis.asyncio import Redis

from runcast_tasks.keys import QueueKeys

FUNCTION = "run_task"
"""The one arq function, for ever: `run_task(tenant, task_id)`. A new name would fail on workers of the last release."""

RING_LIFE_S = 30 * 24 * 3600
DUE_AFTER_S = 30.0
DOUBTED_S = 600.0


def serialize(job: dict[str, Any]) -> bytes:
    """arq's default is pickle: whoever can write to the store could run code in a worker."""
    return json.dumps(job).encode()


def deserialize(data: bytes) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(data)
    return job


def arq_pool(redis: Redis, keys: QueueKeys) -> ArqRedis:
    """arq's client over our own connection pool, so that our timeouts and retries hold."""
    return ArqRedis(
        redis.connection_pool,
        job_serializer=serialize,
        job_deserializer=deserialize,
        default_queue_name=keys.arq,
        expires_extra_ms=RING_LIFE_S * 1000,
    )


class Waiting(NamedTuple):
    """Rings that nobody has taken: how many, and how long the oldest waits."""

    rings: int
    oldest_s: float


def again(fence: str) -> str:
    """The name of a ring for a task that stands at this fence, which is empty before its first claim: who rings for it
    before it is claimed finds one ring there, and the claim that answers it leaves none."""
    return f"again-{fence}"


class Queue:
    """Rings and indexes of one deployment."""

    def __init__(self, redis: Redis, keys: QueueKeys) -> None:
        self._redis, self._keys = redis, keys
        self._arq = arq_pool(redis, keys)

    async def ring(self, tenant: str, task_id: str, name: str | None = None) -> None:
        """Have some worker look at the task's session, within milliseconds when one is idle.

        `name`: a ring of the same name that still waits is this one, so that who rings again and again leaves one."""
        job_id = f"{task_id}:{name or secrets.token_hex(4)}"
        await self._arq.enqueue_job(FUNCTION, tenant, task_id, _job_id=job_id)
        await self._redis.publish(self._keys.wake, b"")

    async def expect(self, tenant: str, task_id: str, after_s: float = DUE_AFTER_S) -> None:
        """Leave the hint that somebody should look after this task in `after_s` at the latest. An earlier look stays: a
        worker may have claimed the task meanwhile, and be gone by then."""
        await self._redis.zadd(self._keys.due, {f"{tenant}/{task_id}": _in_ms(after_s)}, lt=True)

    async def put_off(self, tenant: str, task_id: str, after_s: float) -> None:
        """Nobody needs to look after this task before that: it runs, or was just looked after."""
        await self._redis.zadd(self._keys.due, {f"{tenant}/{task_id}": _in_ms(after_s)})

    async def expect_again(self, tenant: str, task_ids: Sequence[str]) -> None:
        """Leave hints about a session's live tasks, the holder first, where there are none: now for the holder, and for
        those behind it as for new ones."""
        now_ms = int(time.time() * 1000)
        later_ms = now_ms + int(DUE_AFTER_S * 1000)
        hints = {f"{tenant}/{task_id}": later_ms if index else now_ms for index, task_id in enumerate(task_ids)}
        if hints:
            await self._redis.zadd(self._keys.due, hints, nx=True)

    async def index_again(self, index: str, members: Mapping[str, int]) -> None:
        """Put members into an index by their ms, where it has none that are newer."""
        if members:
            await self._redis.zadd(index, dict(members), gt=True)

    async def doubt(self, task_id: str, fence: str) -> None:
        """Tell all reapers that nobody can say whether this attempt's worker vanished."""
        await self._redis.set(self._keys.unclear(task_id), fence, px=int(DOUBTED_S * 1000))

    async def doubted(self, task_id: str) -> str:
        """The fence of the task's attempt that a reaper was in doubt about; empty: none."""
        fence: bytes | None = await self._redis.get(self._keys.unclear(task_id))
        return (fence or b"").decode()

    async def due(self, limit: int) -> list[tuple[str, str]]:
        """Up to `limit` hints whose time has come, the oldest first: (tenant, task id), unchecked. Drops others."""
        now_ms = int(time.time() * 1000)
        members = await self._redis.zrangebyscore(self._keys.due, "-inf", now_ms, start=0, num=limit)
        strange = [raw for raw in members if b"/" not in raw or not raw.isascii()]
        await self.drop(self._keys.due, strange)
        hints = [raw.decode().partition("/") for raw in members if raw not in strange]
        return [(tenant, task_id) for tenant, _, task_id in hints]

    async def waiting(self) -> Waiting:
        pipe = self._redis.pipeline(transaction=False)
        pipe.zcard(self._keys.arq)
        pipe.zrange(self._keys.arq, 0, 0, withscores=True)
        count, oldest = await pipe.execute()
        return Waiting(count, max(0.0, time.time() - oldest[0][1] / 1000) if oldest else 0.0)

    async def forget(self, tenant: str, task_id: str) -> None:
        """The task has ended: nobody needs to look after it."""
        await self._redis.zrem(self._keys.due, f"{tenant}/{task_id}")

    async def index(self, tenant: str, session_id: str, task_id: str) -> None:
        now_ms = int(time.time() * 1000)
        pipe = self._redis.pipeline(transaction=False)
        pipe.zadd(self._keys.sessions(tenant), {session_id: now_ms})
        pipe.zadd(self._keys.tasks(tenant), {task_id: now_ms})
        await pipe.execute()

    async def newest(self, index: str, limit: int, after: tuple[int, str] | None) -> list[tuple[str, int]]:
        """Up to `limit` members of an index, newest first, with their ms; `after`: the last one of the page before."""
        top = "+inf" if after is None else str(after[0])
        found: list[tuple[str, int]] = []
        start = 0
        while len(found) < limit:
            page = await self._redis.zrevrangebyscore(index, top, "-inf", start=start, num=limit + 1, withscores=True)
            members = [(raw.decode(), int(score)) for raw, score in page]
            found += [(m, s) for m, s in members if after is None or (s, m) < after]
            if len(page) <= limit:
                break
            start += len(page)
        return found[:limit]

    async def drop(self, index: str, members: Sequence[str | bytes]) -> None:
        """Take members out of an index: those of expired sessions."""
        if members:
            await self._redis.zrem(index, *members)

    @property
    def keys(self) -> QueueKeys:
        return self._keys


def _in_ms(after_s: float) -> int:
    return int((time.time() + after_s) * 1000)
