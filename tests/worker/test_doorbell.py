"""The doorbell: how fast a ring is answered, and what it survives."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from redis.asyncio import Redis

from runcast_local.store import Store
from runcast_tasks.queue import RING_LIFE_S, Queue
from runcast_worker.doorbell import STARTING_S, Doorbell
from tests.attempts import TENANT, entries
from tests.conftest import connect, wait_until
from tests.history import check_log, check_tasks
from tests.proxy import running_proxy
from tests.worker.conftest import Client, StartWorker, client_of


async def test_an_idle_worker_is_woken_by_a_ring(client: Client, start_worker: StartWorker) -> None:
    """Its own look at the queue is an hour away."""
    async with start_worker(poll_delay_s=3600):
        for number in range(5):
            task_id = await client.submit(agent="script", session_id=f"s{number}", count=1)
            await client.ended(task_id, timeout_s=5)


async def test_rings_from_before_the_worker_are_answered_when_it_starts(
    client: Client, start_worker: StartWorker
) -> None:
    """The wake is only a hint; the queue is what counts."""
    task_id = await client.submit(agent="script", count=1)
    async with start_worker(poll_delay_s=3600):
        await client.ended(task_id)


async def test_a_free_slot_is_used_at_once(client: Client, start_worker: StartWorker) -> None:
    """More tasks than slots: each one starts when another ends, without a poll between."""
    async with start_worker(poll_delay_s=3600, max_jobs=2):
        ids = [await client.submit(agent="script", session_id=f"s{i}", count=20, rate=500) for i in range(10)]
        for task_id in ids:
            await client.ended(task_id)


async def test_a_claimed_ring_leaves_the_queue_while_its_task_runs(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """So it neither hides those behind it nor is answered twice."""
    async with start_worker():
        await client.submit(agent="script", count=1000, rate=100)
        await client.wrote("output")
        assert await redis.zcard("runcast:rings") == 0


async def test_a_ring_that_makes_no_sense_is_dropped(client: Client, start_worker: StartWorker) -> None:
    """Whoever can write to the store cannot stop the worker with it."""
    async with start_worker():
        await client.queue.ring("Not A Tenant", "nor a task")
        await client.queue.ring(TENANT, "nowhere.abcdefghij")
        await client.redis.zadd("runcast:rings", {"no-such-job": 1})
        await client.ended(await client.submit(agent="script", count=1))

        async def empty() -> bool:
            return await client.redis.zcard("runcast:rings") == 0

        await wait_until(empty)


@pytest.mark.parametrize(
    "changes", [{"t": "x"}, {"f": []}, {"et": "x"}, {"a": 7}, {"k": None}, None], ids=lambda changes: str(changes)
)
async def test_a_job_that_is_none_is_dropped_with_its_keys(
    client: Client, start_worker: StartWorker, changes: dict[str, object] | None
) -> None:
    """The worker goes on, and no other finds the same ring."""
    job = {"t": None, "f": "run_task", "a": [TENANT, "s1.abcdefghij"], "k": {}, "et": 1, **(changes or {})}
    await client.redis.set("arq:job:bad", "{" if changes is None else json.dumps(job))
    await client.redis.zadd("runcast:rings", {"bad": 1})
    async with start_worker():
        await client.ended(await client.submit(agent="script", count=1))

        async def dropped() -> bool:
            return not await client.redis.exists("arq:job:bad", "arq:retry:bad", "arq:in-progress:bad", "runcast:rings")

        await wait_until(dropped)


@pytest.mark.parametrize(("ring", "score"), [(b"\xff", 1), (b"bad", float("-inf"))])
async def test_a_ring_that_cannot_be_one_is_dropped(
    client: Client, start_worker: StartWorker, ring: bytes, score: float
) -> None:
    """Its id is no text, or its time no number of milliseconds."""
    await client.redis.set(b"arq:job:" + ring, "{}")
    await client.redis.zadd("runcast:rings", {ring: score})
    async with start_worker():
        await client.ended(await client.submit(agent="script", count=1))

        async def dropped() -> bool:
            return not await client.redis.exists(b"arq:job:" + ring, "runcast:rings")

        await wait_until(dropped)


@pytest.mark.parametrize("held", [False, True], ids=["free", "held by another"])
@pytest.mark.parametrize("replies", range(7))
async def test_a_slot_is_neither_lost_nor_given_back_twice_wherever_the_store_falls_silent(
    redis: Redis, store: Store, replies: int, held: bool
) -> None:
    """After that many replies of a look at the queue. Later the only slot serves one ring after the other."""
    keys, number = client_of(redis).queue.keys, redis.connection_pool.connection_kwargs["db"]
    answered: list[str] = []

    async def answer(_tenant: str, task_id: str, claimed: Callable[[], Awaitable[None]]) -> None:
        await claimed()
        answered.append(task_id)

    async with running_proxy(store.port) as proxy:
        proxied = connect(f"{proxy.url}/{number}", "test", command_timeout_s=0.1, retries=0)
        await proxied.ping()
        doorbell = Doorbell(proxied, keys, "test", answer, max_jobs=1, poll_delay_s=0.02)
        await Queue(redis, keys).ring(TENANT, "s1.aaaaaaaaaa", "first")
        if held:
            await redis.set("arq:in-progress:s1.aaaaaaaaaa:first", "1")
        silent_from = proxy.replies + replies

        def count(reply: int) -> bool:
            proxy.silent = proxy.silent or reply >= silent_from
            return False

        proxy.lose_reply = count
        looking = asyncio.create_task(doorbell.main())
        await wait_until(lambda: proxy.silent or looking.done())
        proxy.lose_reply, proxy.silent = lambda _: False, False
        proxy.cut()
        await redis.delete("arq:in-progress:s1.aaaaaaaaaa:first")  # as it lapses
        for letter in "bcd":
            await Queue(redis, keys).ring(TENANT, f"s1.{letter * 10}")
        await wait_until(lambda: {task_id[3] for task_id in answered} >= set("abcd"), message=f"{answered}")
        await doorbell.drain(5, asyncio.Event())
        await asyncio.sleep(0)  # a slot is given back a turn of the loop after its job has ended
        assert (doorbell.job_counter, looking.done(), looking.exception()) == (0, True, None)
        await proxied.aclose()
    await redis.flushdb()


async def test_a_ring_that_stayed_in_the_queue_is_not_answered_twice_here(client: Client, redis: Redis) -> None:
    """The drain must wait for the attempt, not for a second answer that found the session held and took its place."""
    answered, over = [], asyncio.Event()

    async def answer(tenant: str, task_id: str, claimed: Callable[[], Awaitable[None]]) -> None:
        answered.append(task_id)  # claimed is not called: as if the queue store had been away just then
        await over.wait()

    doorbell = Doorbell(redis, client.queue.keys, "test", answer, max_jobs=5, poll_delay_s=0.02)
    doorbell.in_progress_timeout_s = 0.1
    running = asyncio.create_task(doorbell.main())
    await client.queue.ring(TENANT, "s1.abcdefghij")
    await wait_until(lambda: len(answered) == 1)

    async def lapsed() -> bool:
        return not await redis.keys("arq:in-progress:*")

    await wait_until(lapsed)
    polls = asyncio.create_task(asyncio.wait([running], timeout=0.3))
    await polls
    assert answered == ["s1.abcdefghij"]
    assert len(doorbell.tasks) == 1
    over.set()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await doorbell.drain(2, asyncio.Event())
    await redis.flushdb()


async def test_a_ring_in_the_hands_of_a_killed_worker_is_answered_soon(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """It had looked, and died before it claimed: a task that was just taken from another dead one waits for this."""
    task_id = await client.submit(agent="script", count=1)
    (ring,) = await redis.zrange("runcast:rings", 0, -1)
    await redis.set(b"arq:in-progress:" + ring, b"1", px=int(STARTING_S * 1000))
    async with start_worker(poll_delay_s=0.2):
        began = monotonic()
        await client.ended(task_id)
    assert monotonic() - began < 4


async def test_a_ring_that_another_worker_answers_between_look_and_start_is_left_alone(
    client: Client, redis: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """arq would say that a job has expired, with a traceback of its result."""

    async def answer(*_: object) -> None:
        raise AssertionError("it is not ours")

    await client.queue.ring(TENANT, "s1.abcdefghij")
    (ring,) = await redis.zrange("runcast:rings", 0, -1)
    doorbell = Doorbell(redis, client.queue.keys, "test", answer, max_jobs=3, poll_delay_s=1)
    lock = doorbell.pool.set

    async def late(*args: Any, **options: Any) -> object:
        await redis.zrem("runcast:rings", ring)
        await redis.delete(b"arq:job:" + ring)
        return await lock(*args, **options)

    monkeypatch.setattr(doorbell.pool, "set", late)
    await doorbell.start_jobs([ring])
    assert (doorbell.job_counter, doorbell.tasks, caplog.records) == (0, {}, [])
    assert not await redis.exists(b"arq:in-progress:" + ring)


async def test_arq_is_set_up_against_its_traps(redis: Redis) -> None:
    """A finite timeout, its lease short, no results, no retries that run out."""

    async def answer(*_: object) -> None: ...

    doorbell = Doorbell(redis, client_of(redis).queue.keys, "test", answer, max_jobs=3, poll_delay_s=1)
    assert doorbell.job_timeout_s == RING_LIFE_S
    assert doorbell.in_progress_timeout_s == STARTING_S
    assert (doorbell.keep_result_s, doorbell.allow_abort_jobs, doorbell.max_tries) == (0, False, 1_000_000)
    assert doorbell.queue_read_limit >= 1000


async def test_a_task_survives_a_restart_of_the_store_in_mid_run(
    own_store: Store, tmp_path: Path, start_worker: StartWorker
) -> None:
    """Nothing is lost or repeated; afterwards the same worker is woken again, with all of its slots."""
    redis = connect(own_store.url, "test")
    client = client_of(redis)
    try:
        async with start_worker(redis_url=own_store.url, lease_ttl_s=10, max_jobs=1) as deps:
            task_id = await client.submit(agent="script", count=600, rate=300)
            await client.wrote("output")
            own_store.stop()
            own_store.start()
            log = await client.ended(task_id)
            assert len([entry for entry in log if entry.type == "output"]) == 600
            assert len([entry for entry in log if entry.type == "task_started"]) == 1
            for number in range(3):
                await client.ended(await client.submit(agent="script", session_id=f"after{number}", count=1))
            assert deps.metrics.registry.get_sample_value("runcast_tasks_running") == 0.0
    finally:
        await redis.aclose()


async def test_a_worker_that_starts_before_its_store_works_when_it_is_there(
    own_store: Store, start_worker: StartWorker
) -> None:
    """Nothing needs a person."""
    own_store.stop()
    redis = connect(own_store.url, "test")
    client = client_of(redis)
    try:
        async with start_worker(redis_url=own_store.url, poll_delay_s=0.1):
            own_store.start()
            task_id = await client.submit(agent="script", count=1)
            await client.ended(task_id)
            log = await entries(redis)
            check_log(log)
            check_tasks(log)
    finally:
        await redis.aclose()
