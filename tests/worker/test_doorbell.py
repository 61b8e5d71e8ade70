"""The doorbell: how fast a ring is answered, and what it survives."""

from pathlib import Path

from redis.asyncio import Redis

from runcast_local.store import Store
from runcast_tasks.queue import RING_LIFE_S
from runcast_worker.doorbell import STARTING_S, Doorbell
from tests.attempts import TENANT, entries
from tests.conftest import connect, wait_until
from tests.history import check_log, check_tasks
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
