"""Hints for the reaper: when it looks after a task of which nothing is heard."""

import time

import pytest
from redis.asyncio import Redis

from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import DUE_AFTER_S, Queue
from tests.attempts import TENANT

TASK = "s1.abcdefghij"


@pytest.fixture
async def queue(redis: Redis) -> Queue:
    return Queue(redis, QueueKeys())


async def due_in_s(redis: Redis) -> float:
    return float(await redis.zscore("runcast:due", f"{TENANT}/{TASK}") or 0) / 1000 - time.time()


async def test_a_hint_puts_no_earlier_look_off(queue: Queue, redis: Redis) -> None:
    """Who queued a task tells of it late; a worker has claimed it meanwhile, and is gone."""
    await queue.expect(TENANT, TASK)
    assert 0 < DUE_AFTER_S - await due_in_s(redis) < 5
    await queue.expect(TENANT, TASK, after_s=3)
    await queue.expect(TENANT, TASK)
    assert await due_in_s(redis) <= 3


async def test_who_runs_a_task_puts_the_look_off(queue: Queue, redis: Redis) -> None:
    """Again and again."""
    await queue.expect(TENANT, TASK, after_s=0)
    await queue.put_off(TENANT, TASK, 100)
    assert await due_in_s(redis) > 90
