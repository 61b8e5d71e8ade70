"""A client of one session over all its connections, and what it was shown."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from runcast_events.entry import Entry
from runcast_events.ids import START, EventId
from tests.crowd.frames import Control, Frames
from tests.crowd.line import Ending, Line, open_socket, request
from tests.history import Seen, check_client

REFUSED_S = 0.1
"""Before a connect is tried again that nobody accepted."""


@dataclass
class Reader:
    """`first`: where it began: `earliest`, or where the gateway's first `latest` was. `pace`: bytes a second that it
    reads; None: all there is. `servers`: how often a gateway let it in. `endings`: how its connections ended."""

    port: int
    session_id: str
    frames: Frames
    chance: random.Random
    latest: bool = False
    pace: float | None = None
    first: EventId | None = None
    cursor: EventId | None = None
    seen: list[Seen] = field(default_factory=list)
    endings: Counter[str] = field(default_factory=Counter)
    servers: int = 0
    _line: Line | None = None
    _mean_life_s: float | None = None
    _leaving: asyncio.TimerHandle | None = None
    _last: str = ""
    _retry_s: float = REFUSED_S

    def __post_init__(self) -> None:
        if not self.latest:
            self.first = START

    async def follow(self) -> None:
        """Until cancelled."""
        try:
            while True:
                try:
                    self._line = await self._connect()
                except OSError:
                    self.endings["refused"] += 1
                    await asyncio.sleep(REFUSED_S)
                    continue
                self.live_for(self._mean_life_s)
                self.note(await self._line.ended)
                await asyncio.sleep(self._retry_s)
        finally:
            self.live_for(None)
            self.abort()

    def note(self, ending: Ending) -> None:
        """A connection has ended."""
        self.endings[f"complete after {self._last or 'nothing'}" if ending == "complete" else ending] += 1

    def live_for(self, mean_s: float | None) -> None:
        """How long its connections live on average, from now, before it drops them; None: as long as they can."""
        self._mean_life_s = mean_s
        if self._leaving is not None:
            self._leaving.cancel()
        if mean_s is not None:
            life_s = self.chance.expovariate(1 / mean_s)
            self._leaving = asyncio.get_running_loop().call_later(life_s, self._drop)

    def _drop(self) -> None:
        if self._line is not None:
            self._line.drop(self.chance)

    async def _connect(self) -> Line:
        cursor = str(self.cursor) if self.cursor is not None else "latest" if self.latest else ""
        opened = await open_socket(self.port, slow=self.pace is not None)
        self._last = ""
        line = Line(request(self.session_id, cursor), self.take, self.pace)
        await asyncio.get_running_loop().create_connection(lambda: line, sock=opened)
        return line

    def take(self, block: bytes) -> None:
        """A block came."""
        told = self.frames.read(block)
        if told.id is not None:
            self.cursor = told.id
        if isinstance(told, Seen):
            self.seen.append(told)
            return
        self._control(told)

    def _control(self, told: Control) -> None:
        self._last = told.name or "retry"
        self.servers += told.name == "connected"
        if told.retry_ms is not None:
            self._retry_s = told.retry_ms / 1000
        if self.first is None:
            self.first = told.id

    def hurry(self) -> None:
        """Read as fast as it comes, from now on."""
        self.pace = None
        if self._line is not None:
            self._line.pace = None

    def abort(self) -> None:
        if self._line is not None:
            self._line.abort()

    @property
    def connected(self) -> bool:
        return self._line is not None and not self._line.ended.done() and self._last == "connected"

    def stands_at(self, last: EventId) -> bool:
        return bool(self.seen) and self.seen[-1].id == last


def check_reader(reader: Reader, log: Sequence[Entry]) -> None:
    """Over all its connections it was shown exactly the log from its first cursor on. A gap may only be told of what
    the log does not have; and a stream never ends as if it were complete, without a word."""
    assert reader.first is not None, "the reader was never told where it stands"
    check_client(reader.seen, log, reader.first)
    cursor = reader.first
    for item in reader.seen:
        if item.gap:
            hidden = [entry.id for entry in log if cursor < entry.id <= item.id]
            assert not hidden, f"a gap from {cursor} to {item.id} leaves out {hidden[0]}, which the log has"
        cursor = item.id
    wordless = {why for why in reader.endings if why.startswith("complete") and why.split()[-1] not in LAST_WORDS}
    assert not wordless, f"streams ended without a word: {reader.endings}"


LAST_WORDS = {"draining", "retry", "end"}
