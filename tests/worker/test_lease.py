"""The lease at the edges of an attempt: given back once, kept over an outage, and never counted as a crash."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.events import Event, OutputStart, TaskRequeued
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog, Hold
from runcast_tasks.claim import Claim, Claims, LeaseLapsed
from runcast_tasks.errors import LeaseLost
from runcast_worker.engines import EngineTask
from tests.attempts import TENANT, Attempt, session_keys, submit
from tests.worker.conftest import Client, StartWorker


@asynccontextmanager
async def claimed(redis: Redis, lease_ttl_s: float) -> AsyncIterator[tuple[Claims, Claim, Attempt]]:
    """A started attempt at a fresh task; afterwards the database is empty."""
    log = EventLog(redis)
    await submit(log)
    claims = Claims(redis, Keyspace(), "w1", lease_ttl_s)
    claim = await claims.claim(TENANT, "s1")
    assert claim is not None
    attempt = Attempt(claim.hold, Envelope("s1", claim.record.id, 1))
    await attempt.append(log, attempt.started())
    yield claims, claim, attempt
    await redis.flushdb()


async def test_a_renewal_that_comes_late_does_not_take_back_what_was_given_up(redis: Redis) -> None:
    """The attempt requeued its task: the next worker claims it at once."""
    async with claimed(redis, 0.6) as (claims, claim, attempt):
        await attempt.append(EventLog(redis), attempt.envelope.encode(TaskRequeued(reason="drain")))
        with pytest.raises(LeaseLost, match="another"):
            await asyncio.wait_for(claims.keep(claim), 5)
        assert await redis.exists(session_keys().lease) == 0
        assert await Claims(redis, Keyspace(), "w2", 15).claim(TENANT, "s1") is not None


async def test_a_claimed_task_that_has_not_started_keeps_its_lapsed_lease(redis: Redis) -> None:
    """Nothing of it is in the log yet, so nobody gave it up."""
    await submit(EventLog(redis))
    claims = Claims(redis, Keyspace(), "w1", 0.6)
    claim = await claims.claim(TENANT, "s1")
    assert claim is not None
    await redis.delete(session_keys().lease)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(claims.keep(claim), 0.9)
    assert await redis.exists(session_keys().lease) == 1
    await redis.flushdb()


async def test_a_lease_whose_attempt_is_over_is_not_renewed(redis: Redis) -> None:
    """Neither does its keeper take the answer to a late renewal for a loss: only the time ends it."""
    async with claimed(redis, 0.5) as (claims, claim, attempt):
        over = asyncio.Event()
        over.set()
        await attempt.append(EventLog(redis), attempt.complete())
        with pytest.raises(LeaseLapsed, match="in time"):
            await asyncio.wait_for(claims.keep(claim, over), 5)


async def test_an_end_that_its_attempt_did_not_learn_of_is_passed_on(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Its lease is lost since the task has ended: the session's next task is rung for, and it counts as complete."""

    class Ends:
        async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
            yield OutputStart(part_id="1")
            await client.wrote("output_start")
            hold = Hold(session_keys(), task.record.id, task.record.fence, {})
            attempt = Attempt(hold, Envelope("s1", task.record.id, 1), sequence=2)
            await attempt.append(client.log, attempt.complete())
            await asyncio.sleep(60)

    async with start_worker({"demo": Ends()}, lease_ttl_s=0.6, reap_every_s=60) as deps:
        first = await client.submit()
        second = await client.submit(agent="script", count=1)
        await client.ended(first, second)
        labels = {"agent": "demo", "outcome": "complete"}
        assert deps.metrics.registry.get_sample_value("runcast_tasks_ended_total", labels) == 1.0
