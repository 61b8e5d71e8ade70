"""What a crowd reads: attempts that write through the product's publisher, in bursts of events of all sizes."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic

from redis.asyncio import Redis

from runcast_events.log import EventLog
from runcast_events.publisher import Publisher
from tests.attempts import Attempt, claim, submit

BURST = 4
"""Events that come together at most: some batches fit a publication, others only tell that there is something."""


class Writing:
    """The attempts of some sessions. `written`: bytes of each session so far."""

    def __init__(self, attempts: Sequence[tuple[Publisher, Attempt]], chance: random.Random, size: int) -> None:
        self._attempts, self._chance, self._size = attempts, chance, size
        self.written = 0

    async def write(self, seconds: float, rate: float) -> None:
        """To every session alike, for so long. `rate`: bytes a second and session."""
        began, written = monotonic(), self.written
        while (elapsed := monotonic() - began) < seconds:
            for _ in range(self._chance.randint(1, BURST)):
                await self._event(self._chance.randint(1, self._size))
            await asyncio.sleep(max(0.0, (self.written - written) / rate - elapsed))

    async def _event(self, size: int) -> None:
        text = f"{self.written} {'x' * size}"
        for publisher, attempt in self._attempts:
            await publisher.publish(attempt.output(text))
        self.written += size


@asynccontextmanager
async def writing(redis: Redis, session_ids: Sequence[str], chance: random.Random, size: int) -> AsyncIterator[Writing]:
    """A running task in each of these new sessions, which is complete when the block ends. `size`: of an event, at the
    most."""
    log = EventLog(redis)
    async with AsyncExitStack() as stack:
        attempts = []
        for session_id in session_ids:
            await submit(log, session_id)
            attempt = await claim(redis, session_id, lease_ttl_s=600)
            publisher = Publisher(log, attempt.hold, attempt.envelope)
            await stack.enter_async_context(publisher)
            await publisher.publish(attempt.started())
            attempts.append((publisher, attempt))
        yield Writing(attempts, chance, size)
        for publisher, attempt in attempts:
            await publisher.publish(attempt.complete())
