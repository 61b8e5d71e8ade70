"""Tasks whose workers vanished twice: the next time they are given up, so none of them may be with another then."""

from itertools import pairwise

from runcast_events.keys import Keyspace
from runcast_tasks.control import Control
from tests.attempts import TENANT
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker

SESSIONS = ("s1", "s2", "s3")


async def suspect(client: Client, session_id: str, count: int = 30) -> str:
    """A task that was with two workers when they vanished."""
    task_id = await client.submit(session_id=session_id, agent="script", count=count, rate=50)
    await client.redis.hset(Keyspace().session(TENANT, session_id).task(task_id), "crashes", "2")  # type: ignore[misc]
    return task_id


async def times(client: Client, task_id: str) -> tuple[int, int]:
    """When it began and ended, ms."""
    log = await client.ended(task_id)
    return next(entry.at_ms for entry in log if entry.type == "task_started"), log[-1].at_ms


async def test_one_of_them_runs_at_a_time_beside_others(client: Client, start_worker: StartWorker) -> None:
    """Of three, one brings workers down: it ends, and the two that were with it do not end with it."""
    suspects = [await suspect(client, session_id) for session_id in SESSIONS]
    other = await client.submit(session_id="s4", agent="script", count=60, rate=50)
    async with start_worker(poll_delay_s=0.1):
        spans = sorted([await times(client, task_id) for task_id in suspects])
        began, ended = await times(client, other)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))
    assert began < spans[1][0]
    assert spans[0][0] < ended


async def test_each_worker_takes_one(client: Client, start_worker: StartWorker) -> None:
    """Whom one turns away waits for no other's end, where there is a worker that can run it."""
    tasks = [await suspect(client, session_id, count=10_000) for session_id in ("s1", "s2")]

    async def both_run() -> bool:
        return [await client.state(task_id) for task_id in tasks] == ["running", "running"]

    async with start_worker(poll_delay_s=0.1), start_worker(poll_delay_s=0.1):
        await wait_until(both_run, 20)
        control = Control(client.redis, client.log, Keyspace(), TENANT)
        for task_id in tasks:
            await control.cancel(task_id, "test")
            await client.ended(task_id)
