"""Between an agent function and the engine that tells what it does: bounded, in order, from several senders."""

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Any

from runcast_events.events import Event
from runcast_worker.engines.python.steps import Step

ROOM = 64


class Over(RuntimeError):
    """The run of the agent function has ended; nothing more of it is told."""


@dataclass(frozen=True, slots=True)
class OwnCall:
    """A call of our tools is about to begin; the answer is its iteration and index."""


@dataclass(frozen=True, slots=True)
class Forward:
    """An event of such a call."""

    event: Event


@dataclass(frozen=True, slots=True)
class Letter:
    """`answer` is set when what the letter says is on its way to the log."""

    content: Step | OwnCall | Forward
    answer: asyncio.Future[Any] | None


class Mailbox:
    """Of one run."""

    def __init__(self) -> None:
        self._letters: deque[Letter] = deque()
        self._filled, self._room = asyncio.Event(), asyncio.Event()
        self._ended = self._closed = False

    async def post(self, content: Step | OwnCall | Forward) -> None:
        """Waits for room. Raises Over."""
        await self._put(Letter(content, None))

    async def deliver(self, content: Step | OwnCall | Forward) -> Any:
        """Waits until it is told; returns the answer. Raises Over."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        await self._put(Letter(content, answer))
        return await answer

    async def take(self) -> Letter | None:
        """The next; None when there is none and none will come."""
        while not self._letters:
            if self._ended:
                return None
            self._filled.clear()
            await self._filled.wait()
        self._room.set()
        return self._letters.popleft()

    def end(self) -> None:
        """No more will come; what is there is still told."""
        self._ended = True
        self._filled.set()

    def close(self) -> None:
        """Nobody takes any more."""
        self._ended = self._closed = True
        self._room.set()
        while self._letters:
            answer = self._letters.popleft().answer
            if answer is not None and not answer.done():
                answer.cancel()

    async def _put(self, letter: Letter) -> None:
        while not self._closed and len(self._letters) >= ROOM:
            self._room.clear()
            await self._room.wait()
        if self._closed:
            raise Over("the task is over; nothing more of it is told")
        self._letters.append(letter)
        self._filled.set()
