"""How fast an attempt's events go into the log: of a session that is held as the test lets them, one by one."""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from redis.asyncio import Redis

from runcast_events.answer import Appended
from runcast_events.codec import Encoded, Envelope
from runcast_events.ids import session_of
from runcast_events.log import EventLog, Hold, Write
from runcast_events.publisher import Publisher, PublisherLimits

ONE_BY_ONE = PublisherLimits(linger_s=0, batch_events=1)


class Paces:
    """How many events of attempts may still go into the log, by session; all of one that is not held."""

    def __init__(self) -> None:
        self._left: dict[str, int] = {}
        self._moved = asyncio.Condition()
        self.under_way: Counter[str] = Counter()
        """Appends that were let go and are not answered yet."""

    def holds(self, session_id: str) -> bool:
        return session_id in self._left

    def hold(self, session_id: str) -> None:
        self._left[session_id] = 0

    def left(self, session_id: str) -> int:
        return self._left.get(session_id, 0)

    async def let(self, session_id: str, count: int) -> None:
        """From now on so many may go."""
        self._left[session_id] = count
        await self._tell()

    async def free(self, session_ids: Iterable[str]) -> None:
        """From now on everything goes."""
        for session_id in session_ids:
            self._left.pop(session_id, None)
        await self._tell()

    async def pass_by(self, session_id: str) -> None:
        async with self._moved:
            await self._moved.wait_for(lambda: self._left.get(session_id, 1) > 0)
            if session_id in self._left:
                self._left[session_id] -= 1

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()


class PacedLog(EventLog):
    """A worker's; see Paces."""

    def __init__(self, redis: Redis, paces: Paces) -> None:
        super().__init__(redis)
        self.paces = paces

    async def append(
        self, hold: Hold, first_sequence: int, batch: Sequence[Encoded], writes: Iterable[Write] = ()
    ) -> Appended:
        session_id = session_of(hold.task_id)
        await self.paces.pass_by(session_id)
        self.paces.under_way[session_id] += 1
        try:
            return await super().append(hold, first_sequence, batch, writes)
        finally:
            self.paces.under_way[session_id] -= 1


def paced_publisher(log: EventLog, hold: Hold, envelope: Envelope) -> Publisher:
    """Of a held session an event a batch, so that the test can stop between any two."""
    one_by_one = isinstance(log, PacedLog) and log.paces.holds(session_of(hold.task_id))
    return Publisher(log, hold, envelope, ONE_BY_ONE if one_by_one else None)
