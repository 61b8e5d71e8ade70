"""The lease at the edges of an attempt: given back once, kept over an outage, and never counted as a crash."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.events import Event, OutputStart, TaskRequeued
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog, Hold
from runcast_local.store import Store
from runcast_tasks.claim import Claim, Claims
from runcast_tasks.control import Control
from runcast_tasks.errors import LeaseLapsed, LeaseLost
from runcast_worker.engines import EngineTask
from tests.attempts import TENANT, Attempt, claim, entries, session_keys, submit
from tests.conftest import wait_until
from tests.proxy import running_proxy
from tests.worker.conftest import Client, StartWorker, client_of
from tests.worker.processes import alive, new_mark


@asynccontextmanager
async def claimed(redis: Redis, lease_ttl_s: float) -> AsyncIterator[tuple[Claims, Claim, Attempt]]:
    """A started attempt at a fresh task; afterwards the database is empty."""
    log = EventLog(redis)
    await submit(log)
    claims = Claims(redis, Keyspace(), "w1", lease_ttl_s)
    ours = await claims.claim(TENANT, "s1")
    assert ours is not None
    attempt = Attempt(ours.hold, Envelope("s1", ours.record.id, 1))
    await attempt.append(log, attempt.started())
    yield claims, ours, attempt
    await redis.flushdb()


async def test_a_renewal_that_comes_late_does_not_take_back_what_was_given_up(redis: Redis) -> None:
    """The attempt requeued its task: the next worker claims it at once."""
    async with claimed(redis, 0.6) as (claims, ours, attempt):
        await attempt.append(EventLog(redis), attempt.envelope.encode(TaskRequeued(reason="drain")))
        with pytest.raises(LeaseLost, match="another"):
            await asyncio.wait_for(claims.keep(ours), 5)
        assert await redis.exists(session_keys().lease) == 0
        assert await Claims(redis, Keyspace(), "w2", 15).claim(TENANT, "s1") is not None


async def test_a_claimed_task_that_has_not_started_keeps_its_lapsed_lease(redis: Redis) -> None:
    """Nothing of it is in the log yet, so nobody gave it up."""
    await submit(EventLog(redis))
    claims = Claims(redis, Keyspace(), "w1", 0.6)
    ours = await claims.claim(TENANT, "s1")
    assert ours is not None
    await redis.delete(session_keys().lease)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(claims.keep(ours), 0.9)
    assert await redis.exists(session_keys().lease) == 1
    await redis.flushdb()


async def test_a_lease_whose_attempt_is_over_is_not_renewed(redis: Redis) -> None:
    """Neither does its keeper take the answer to a late renewal for a loss: only the time ends it."""
    async with claimed(redis, 0.5) as (claims, ours, attempt):
        over = asyncio.Event()
        over.set()
        await attempt.append(EventLog(redis), attempt.complete())
        with pytest.raises(LeaseLapsed, match="in time"):
            await asyncio.wait_for(claims.keep(ours, over), 5)


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


async def outcomes(redis: Redis, event_type: str) -> list[str]:
    return [json.loads(entry.payload)["reason"] for entry in await entries(redis) if entry.type == event_type]


async def test_outages_longer_than_the_lease_are_no_crashes(
    own_store: Store, own_redis: Redis, start_worker: StartWorker
) -> None:
    """Each time the attempt stops, and gives its task up when the store is back; after three the task completes."""
    client = client_of(own_redis)
    async with start_worker(redis_url=own_store.url, lease_ttl_s=1):
        task_id = await client.submit(agent="script", count=150, rate=100)
        for outage in range(1, 4):
            await client.wrote("task_started", count=outage)
            await asyncio.to_thread(own_store.stop)
            lapses = monotonic() + 2.5
            await wait_until(lambda lapses=lapses: monotonic() > lapses)  # type: ignore[misc]
            await asyncio.to_thread(own_store.start)
            await client.wrote("task_requeued", count=outage)
        await client.ended(task_id)
    record = await client.record(task_id)
    assert (record.state, record.crashes, record.attempt) == ("complete", 0, 4)
    assert await outcomes(own_redis, "task_requeued") == ["lease_lost"] * 3


async def test_a_store_that_stands_still_is_no_crash(
    own_store: Store, own_redis: Redis, start_worker: StartWorker
) -> None:
    """No command fails, they only take longer than the lease: also a reaper that waited with them takes nothing."""
    client = client_of(own_redis)
    assert own_store.process is not None
    settings = {"redis_url": own_store.url, "lease_ttl_s": 1}
    async with start_worker(**settings), start_worker(**settings):
        task_id = await client.submit(agent="script", count=150, rate=100)
        await client.wrote("output")
        own_store.process.send_signal(signal.SIGSTOP)
        try:
            goes_on = monotonic() + 2
            await wait_until(lambda: monotonic() > goes_on)
        finally:
            own_store.process.send_signal(signal.SIGCONT)
        await client.ended(task_id)
    assert (await client.record(task_id)).crashes == 0
    assert await outcomes(own_redis, "task_requeued") == ["lease_lost"]


async def test_a_lapsed_lease_ends_the_tools_before_the_store_is_back(
    own_store: Store, own_redis: Redis, start_worker: StartWorker
) -> None:
    """Another worker may run them by then. The call is closed in the log; its iteration another attempt goes on in."""
    client, mark = client_of(own_redis), new_mark()
    async with start_worker(redis_url=own_store.url, lease_ttl_s=1):
        task_id = await client.submit(f"run `sleep {mark}`", delay_ms=0)
        await wait_until(lambda: bool(alive(mark)))
        await asyncio.to_thread(own_store.stop)
        await wait_until(lambda: not alive(mark), message="the tool lives")
        await asyncio.to_thread(own_store.start)
        await client.wrote("task_requeued")
        types = [entry.type for entry in await entries(own_redis)]
        until = types[: types.index("task_requeued")]
        assert until[-1] == "tool_call_complete"
        await Control(own_redis, client.log, Keyspace(), TENANT).cancel(task_id, "test")
        await client.ended(task_id)


async def test_a_requeue_that_comes_after_another_took_the_task_is_fenced(
    store: Store, redis: Redis, start_worker: StartWorker
) -> None:
    """Only this worker was cut off: what it says when it is back is not in the log."""
    number = redis.connection_pool.connection_kwargs["db"]
    client = client_of(redis)
    async with running_proxy(store.port) as proxy:
        settings = {"events_redis_url": f"{proxy.url}/{number}", "lease_ttl_s": 0.9, "reap_every_s": 60}
        async with start_worker(**settings) as deps:
            task_id = await client.submit(agent="script", count=1000, rate=100)
            await client.wrote("output")
            proxy.silent = True

            async def lapsed() -> bool:
                return not await redis.exists(session_keys().lease)

            await wait_until(lapsed)
            requeued = Envelope("s1", task_id).encode(TaskRequeued(reason="crash"))
            await client.log.append_control(session_keys(), "take", [requeued], task_id=task_id, legal=("running",))
            other = await claim(redis)
            await other.append(client.log, other.started())
            proxy.silent = False
            proxy.cut()
            labels = {"agent": "script", "outcome": "lost"}
            sample = deps.metrics.registry.get_sample_value
            await wait_until(lambda: sample("runcast_tasks_ended_total", labels) == 1.0)
            await other.append(client.log, other.complete())
    log = await client.ended(task_id)
    assert [e.type for e in log if e.type.startswith("task_")][2:] == ["task_requeued", "task_started", "task_complete"]
    assert await outcomes(redis, "task_requeued") == ["crash"]
