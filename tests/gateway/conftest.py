"""What several tests of the gateway begin with."""

import pytest
from redis.asyncio import Redis

from runcast_events.log import EventLog
from tests.attempts import Attempt, claim, submit


@pytest.fixture
async def started(redis: Redis) -> Attempt:
    """A task that has started, in session s1."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    return attempt
