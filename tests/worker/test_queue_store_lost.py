"""The queue store loses everything while tasks wait, run, and have lost their worker: all of them end."""

from pathlib import Path

from redis.asyncio import Redis

from runcast_api.settings import ApiSettings
from runcast_events.log import EventLog
from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import Queue
from tests.api.running import running
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker
from tests.workers import worker_process


async def test_every_task_ends_and_is_listed_although_the_queue_store_was_emptied(
    redis: Redis,
    redis_url: str,
    queue_redis: Redis,
    queue_url: str,
    start_worker: StartWorker,
    agents_file: Path,
    tmp_path: Path,
) -> None:
    """No ring, no hint and no index is left; the log, the records and the leases are."""
    client = Client(redis, Queue(queue_redis, QueueKeys()), EventLog(redis))
    stores = {"redis_url": queue_url, "events_redis_url": redis_url, "lease_ttl_s": 1.5, "max_jobs": 1}
    settings = {"agents_file": agents_file, "workspaces": tmp_path / "workspaces", **stores}
    async with worker_process(**settings, reap_every_s=60) as (doomed, _):
        orphan = await client.submit(session_id="orphan", agent="script", count=150, rate=100)
        await client.wrote("output", "orphan")
        async with start_worker(**stores):
            runs = await client.submit(session_id="runs", agent="script", count=150, rate=100)
            await client.wrote("output", "runs")
            waits = [await client.submit(session_id=name) for name in ("waits", "waits", "runs")]
            await wait_until(lambda: queue_redis.exists(QueueKeys().counted))
            await queue_redis.flushdb()
            doomed.kill()
            await client.ended(orphan)
            await client.ended(*waits[:2])
            log = await client.ended(runs, waits[2])
    assert [await client.state(task_id) for task_id in (orphan, runs, *waits)] == ["complete"] * 5
    assert [entry.type for entry in log].count("task_started") == 2, "the one that ran was left alone"
    assert (await client.record(orphan)).crashes == 1
    async with running(ApiSettings(redis_url=queue_url, events_redis_url=redis_url)) as api:
        sessions = (await api.client.get("/api/sessions")).json()["sessions"]
        tasks = [task["id"] for task in (await api.client.get("/api/tasks")).json()["data"]]
    assert sorted(sessions) == ["orphan", "runs", "waits"]
    assert sorted(tasks) == sorted([orphan, runs, *waits])
