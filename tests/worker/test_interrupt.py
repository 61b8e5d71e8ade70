"""A task that interrupts another, with real workers; also where the api died right after it was accepted."""

import json

from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.events import TaskPaused
from runcast_events.keys import Keyspace
from runcast_tasks.control import Control
from runcast_tasks.submit import NewTask, Receipt, interruption, submit
from tests.attempts import TENANT, session_keys
from tests.attempts import submit as accept
from tests.worker.conftest import Client, StartWorker
from tests.worker.reaper.test_reaper import hint


async def interrupt(client: Client) -> Receipt:
    """Accept a task as the api does, up to the append and no further."""
    task = NewTask("", "demo", "s1", on_busy="interrupt", by="me")
    return await submit(client.log, client.queue, Keyspace(), TENANT, task)


async def test_a_running_task_ends_for_the_one_that_interrupts_it(client: Client, start_worker: StartWorker) -> None:
    """It is cancelled, the interrupting task runs next, and then what waited."""
    async with start_worker():
        running = await client.submit(agent="script", count=1000, rate=100)
        waiting = await client.submit()
        await client.wrote("output")
        receipt = await interrupt(client)
        assert receipt.interrupted == running
        await Control(client.redis, client.log, Keyspace(), TENANT).cancel(running, "me", interruption(receipt.task_id))
        log = await client.ended(running, receipt.task_id, waiting)
    cancelled = next(json.loads(entry.payload) for entry in log if entry.type == "task_cancelled")
    assert (cancelled["by"], cancelled["reason"]) == ("me", f"interrupted by {receipt.task_id}")
    starts = [entry.task_id for entry in log if entry.type == "task_started"]
    assert starts == [running, receipt.task_id, waiting]


async def test_an_interrupt_whose_api_died_ends_the_running_task_all_the_same(
    client: Client, start_worker: StartWorker
) -> None:
    """The request came with the task, in one step."""
    async with start_worker():
        running = await client.submit(agent="script", count=1000, rate=100)
        await client.wrote("output")
        receipt = await interrupt(client)
        await client.ended(running, receipt.task_id)
    assert [await client.state(task_id) for task_id in (running, receipt.task_id)] == ["cancelled", "complete"]


async def test_an_interrupt_whose_api_died_ends_the_queued_task_when_it_is_claimed(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """It writes nothing but its start and its end."""
    queued = await client.submit(agent="script", count=1000, rate=100)
    receipt = await interrupt(client)
    async with start_worker():
        await client.ended(queued, receipt.task_id)
    assert [await client.state(task_id) for task_id in (queued, receipt.task_id)] == ["cancelled", "complete"]


async def test_an_interrupt_whose_api_died_ends_the_paused_task_by_the_reaper(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Nobody runs it, so nobody else would ever look."""
    paused = await accept(client.log)
    event = Envelope("s1", paused).encode(TaskPaused(by="me"))
    await client.log.append_control(session_keys(), "pause", [event], task_id=paused)
    receipt = await interrupt(client)
    await hint(redis, receipt.task_id)
    async with start_worker():
        await client.ended(paused, receipt.task_id)
    assert [await client.state(task_id) for task_id in (paused, receipt.task_id)] == ["cancelled", "complete"]
