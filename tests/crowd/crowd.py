"""A crowd at one address: readers that drop and come back, slow ones, and some that never read; and its end."""

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from runcast_events.entry import Entry
from runcast_events.ids import EventId
from tests.conftest import wait_until
from tests.crowd.frames import Frames
from tests.crowd.line import open_socket, request
from tests.crowd.reader import Reader, check_reader

SLOW_PACE = 50_000
"""Bytes a second."""
AT_ONCE = 64
LINGER_S = 0.5
"""How long a crowd that has everything is watched on: what came twice would come now."""


@dataclass(frozen=True, slots=True)
class Size:
    """`slow` and `deaf`, which never read, are among the `clients`."""

    clients: int
    slow: int = 0
    deaf: int = 0


class Crowd:
    """Every other reader is one of the first session, the rest are spread over the others; so are the slow ones."""

    def __init__(self, port: int, session_ids: Sequence[str], size: Size, seed: str) -> None:
        self._port, self._session_ids, self._size = port, session_ids, size
        frames = Frames()
        self.slow = [self._reader(i, frames, f"{seed} slow {i}", SLOW_PACE) for i in range(size.slow)]
        count = size.clients - size.slow - size.deaf
        self.fast = [self._reader(i, frames, f"{seed} fast {i}", None) for i in range(count)]
        self._deaf: list[socket.socket] = []
        self._following: list[asyncio.Task[None]] = []

    @property
    def readers(self) -> list[Reader]:
        return self.slow + self.fast

    @property
    def endings(self) -> Counter[str]:
        """Of all readers' connections."""
        return sum((reader.endings for reader in self.readers), Counter())

    def _reader(self, index: int, frames: Frames, seed: str, pace: float | None) -> Reader:
        chance = random.Random(seed)
        latest = chance.random() < 0.5
        return Reader(self._port, self._session_of(index), frames, chance, latest=latest, pace=pace)

    def _session_of(self, index: int) -> str:
        first, *others = self._session_ids
        return others[index // 2 % len(others)] if index % 2 and others else first

    async def come(self) -> None:
        """Returns when all are there."""
        for index in range(self._size.deaf):
            opened = await open_socket(self._port, slow=True)
            self._deaf.append(opened)
            await asyncio.get_running_loop().sock_sendall(opened, request(self._session_of(index), ""))
        for start in range(0, len(self.readers), AT_ONCE):
            some = self.readers[start : start + AT_ONCE]
            self._following += [asyncio.create_task(reader.follow()) for reader in some]
            await wait_until(lambda some=some: all(each.servers for each in some), 30, "readers are not let in")  # type: ignore[misc]

    def restless(self, mean_life_s: float | None) -> None:
        """From now on connections live so long on average before their readers drop them; None: nobody drops any more.
        Of the slow ones half never do: they are what the gateway has to live with."""
        for index, reader in enumerate(self.slow):
            reader.live_for(mean_life_s if index % 4 < 2 else None)
        for reader in self.fast:
            reader.live_for(mean_life_s)

    def hurry(self) -> None:
        """The slow ones read as fast as they can."""
        for reader in self.slow:
            reader.hurry()

    async def have(self, ends: Mapping[str, EventId], timeout_s: float) -> None:
        """Wait until every reader was shown the last event of its session, and a moment longer."""

        def behind() -> list[Reader]:
            return [reader for reader in self.readers if not reader.stands_at(ends[reader.session_id])]

        with contextlib.suppress(AssertionError):  # check() says better what is missing
            await wait_until(lambda: not behind(), timeout_s)
        await asyncio.sleep(LINGER_S)

    def check(self, logs: Mapping[str, Sequence[Entry]]) -> None:
        for index, reader in enumerate(self.readers):
            try:
                check_reader(reader, logs[reader.session_id])
            except AssertionError as error:
                error.add_note(f"reader {index} of {reader.session_id}, {reader.endings}, at {reader.cursor}")
                raise

    async def go(self) -> None:
        for following in self._following:
            following.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        for opened in self._deaf:
            opened.close()


@asynccontextmanager
async def crowd(port: int, session_ids: Sequence[str], size: Size, seed: str) -> AsyncIterator[Crowd]:
    """All of them there, until the block ends."""
    made = Crowd(port, session_ids, size, seed)
    try:
        await made.come()
        yield made
    finally:
        await made.go()
