"""Requests that come when an attempt lets go: its task rests by then, and a worker that finds them answers them."""

import pytest
from redis.asyncio import Redis

from runcast_events.events import TaskPaused, TaskRequeued
from runcast_events.keys import Keyspace
from runcast_tasks.control import Control
from tests.attempts import TENANT, Attempt, claim
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker
from tests.worker.reaper.test_reaper import hint


@pytest.fixture
def control(client: Client) -> Control:
    return Control(client.redis, client.log, Keyspace(), TENANT)


async def running(client: Client, control: Control) -> Attempt:
    """An attempt that was asked to pause, and has found that it was."""
    task_id = await client.submit()
    attempt = await claim(client.redis)
    await attempt.append(client.log, attempt.started())
    assert await control.pause(task_id, "anna") == "running"
    return attempt


async def let_go(client: Client, attempt: Attempt, event: TaskPaused | TaskRequeued) -> None:
    await attempt.append(client.log, attempt.envelope.encode(event))


async def test_a_task_that_pauses_although_it_was_resumed_goes_on(
    client: Client, control: Control, start_worker: StartWorker, redis: Redis
) -> None:
    """The resume came when its attempt was about to pause, and was answered as done. The worker died right after."""
    attempt = await running(client, control)
    assert await control.resume(attempt.task_id, "bob") == "running"
    await let_go(client, attempt, TaskPaused(by="anna"))
    await hint(redis, attempt.task_id)
    async with start_worker():
        log = await client.ended(attempt.task_id)
    types = [entry.type for entry in log]
    assert types[types.index("task_paused") + 1] == "task_resumed"
    assert types[-1] == "task_complete"


async def test_a_pause_after_the_resume_is_the_last_word(
    client: Client, control: Control, start_worker: StartWorker, redis: Redis
) -> None:
    """The task rests."""
    attempt = await running(client, control)
    await control.resume(attempt.task_id, "bob")
    await control.pause(attempt.task_id, "anna")
    await let_go(client, attempt, TaskPaused(by="anna"))
    await rests(client, start_worker, attempt.task_id)


async def test_a_resume_that_was_heard_does_not_end_a_later_pause(
    client: Client, control: Control, start_worker: StartWorker, redis: Redis
) -> None:
    """The attempt went on, and its worker drained; then the queued task is paused."""
    attempt = await running(client, control)
    await control.resume(attempt.task_id, "bob")
    await let_go(client, attempt, TaskRequeued(reason="drain"))
    assert await control.pause(attempt.task_id, "anna") == "paused"
    await rests(client, start_worker, attempt.task_id)


async def rests(client: Client, start_worker: StartWorker, task_id: str) -> None:
    """A reaper looks at the task, and leaves it."""
    await hint(client.redis, task_id)

    async def forgotten() -> bool:
        return not await client.redis.zcard("runcast:due")

    async with start_worker():
        await wait_until(forgotten)
    assert await client.state(task_id) == "paused"
