"""Between the loop and whoever takes its events: in order, bounded, and deltas gathered while nobody needs them sooner.

A model may send hundreds of deltas a second; each costs a line of the log and a frame to every client. So deltas that
come within PACE_S of those before go out together: a slow stream is not held up, a fast one costs 33 events a second.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from time import monotonic

from runcast_events.events import Event, Output, Thinking
from runcast_worker.engines import Saved

PACE_S = 0.03
WAITING_CHARS = 64 * 1024
"""Text that waits; beyond that the model's stream is not read on."""
WAITING_EVENTS = 64
DELTA_CHARS = 8192
"""A longer delta is sent as several."""


class Delta:
    """Text of one part that waits. `kind`: of the part's deltas; `offset`: code points of the part before it."""

    __slots__ = ("iteration", "kind", "offset", "part_id", "pieces", "size")

    def __init__(self, kind: type[Output] | type[Thinking], iteration: int, part_id: str, offset: int) -> None:
        self.kind, self.iteration, self.part_id, self.offset = kind, iteration, part_id, offset
        self.pieces: list[str] = []
        self.size = 0

    def events(self) -> list[Event]:
        text = "".join(self.pieces)
        return [
            self.kind(
                iteration=self.iteration,
                part_id=self.part_id,
                delta=text[start : start + DELTA_CHARS],
                offset=self.offset + start,
            )
            for start in range(0, len(text), DELTA_CHARS)
        ]


class Outbox:
    """Many may put, one takes."""

    def __init__(self) -> None:
        self._waiting: deque[Event | Saved | Delta | asyncio.Future[None]] = deque()
        self._chars = 0
        self._any, self._urgent, self._room = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._room.set()
        self._closed = False

    async def put(self, event: Event | Saved) -> None:
        """In its order, and at once. Waits while too much waits."""
        await self._room.wait()
        self._waiting.append(event)
        self._added(urgent=True)

    async def delivered(self, event: Event | Saved) -> None:
        """Put it, and return when whoever takes the events has done with it."""
        await self.put(event)
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        await done

    async def delta(
        self, kind: type[Output] | type[Thinking], iteration: int, part_id: str, text: str, offset: int
    ) -> None:
        """Text of a part, with what waits of the same part."""
        if not self._room.is_set():
            await self._room.wait()
        last = self._waiting[-1] if self._waiting else None
        if not isinstance(last, Delta) or last.part_id != part_id or last.kind is not kind:
            last = Delta(kind, iteration, part_id, offset)
            self._waiting.append(last)
        last.pieces.append(text)
        last.size += len(text)
        self._chars += len(text)
        self._added(urgent=False)

    def close(self) -> None:
        """Nothing will be put any more."""
        self._closed = True
        self._any.set()
        self._urgent.set()

    async def events(self) -> AsyncGenerator[Event | Saved, None]:
        """Everything that is put, until it is closed and empty."""
        sent_at = 0.0
        while True:
            await self._any.wait()
            rest = sent_at + PACE_S - monotonic()
            if rest > 0 and not self._urgent.is_set():
                await self._pause(rest)
            sent_at = monotonic()
            for _ in range(len(self._waiting)):  # what is put meanwhile has its own pace
                item = self._waiting.popleft()
                if isinstance(item, asyncio.Future):
                    if not item.done():
                        item.set_result(None)
                elif isinstance(item, Delta):
                    self._chars -= item.size
                    for event in item.events():
                        yield event
                else:
                    yield item
            self._room.set()
            if self._waiting:
                continue
            if self._closed:
                return
            self._any.clear()
            self._urgent.clear()

    async def _pause(self, rest_s: float) -> None:
        try:
            async with asyncio.timeout(rest_s):
                await self._urgent.wait()
        except TimeoutError:
            pass

    def _added(self, *, urgent: bool) -> None:
        self._any.set()
        if urgent:
            self._urgent.set()
        if self._chars >= WAITING_CHARS or len(self._waiting) >= WAITING_EVENTS:
            self._room.clear()
            self._urgent.set()
