"""One connection for many small reads: commands of a turn of the event loop leave in one write, replies come in order.

For a gateway's hot path, where redis-py takes several times longer over a command than the store does. Like the
subscriber it has redis-py open the connection, and then reads by itself. A command is never sent twice here: whoever
asks may ask again.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any

import hiredis
from redis.asyncio import Connection
from redis.asyncio.connection import DefaultParser
from redis.exceptions import ConnectionError  # noqa: A004 - redis-py shadows the builtins

from runcast_events.redis import bare_connection, transport_of

CONNECT_S = 5.0

Command = Sequence[str | bytes | int]


class Replies(asyncio.Protocol):
    """A connection in use. `lost`: why it is no longer, once it is not."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._reader = hiredis.Reader(replyError=DefaultParser.parse_error)
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._unsent: list[bytes] = []
        self.lost: Exception | None = None
        transport.set_protocol(self)

    def ask(self, commands: Sequence[Command]) -> list[asyncio.Future[Any]]:
        """A reply each, which may be an exception as a value."""
        loop = asyncio.get_running_loop()
        if not self._unsent:
            loop.call_soon(self._flush)
        asked = [loop.create_future() for _ in commands]
        self._waiting += asked
        self._unsent += [hiredis.pack_command(tuple(command)) for command in commands]  # type: ignore[arg-type]
        return asked

    def end(self, why: Exception) -> None:
        self._transport.abort()
        self.connection_lost(why)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                waiter = self._waiting.popleft()
                if not waiter.done():
                    waiter.set_result(reply)
        except (hiredis.HiredisError, IndexError) as error:
            self.end(ConnectionError(f"the store does not speak RESP: {error}"))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.lost is None:
            self.lost = ConnectionError(f"the store closed the connection: {exc or 'no reason given'}")
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(self.lost)

    def _flush(self) -> None:
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()


class Pipe:
    """Opens its connection when it is first used, and again when it was lost."""

    def __init__(self, url: str, name: str, timeout_s: float) -> None:
        self._url, self._name, self._timeout_s = url, name, timeout_s
        self._connection: Connection | None = None
        self._replies: Replies | None = None
        self._opening = asyncio.Lock()

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Their replies; an error of one command stands in the place of its reply. Raises RedisError, TimeoutError: no
        answer in time, after which the connection is given up, since its replies no longer have a reader."""
        replies = self._replies
        if replies is None or replies.lost is not None:
            replies = await self._opened()
        asked = replies.ask(commands)
        try:
            async with asyncio.timeout(self._timeout_s):
                answers = [await each for each in asked]
        except TimeoutError:
            replies.end(TimeoutError(f"no answer in {self._timeout_s:g} s"))
            raise
        if replies.lost is not None and replies.lost in answers:
            raise replies.lost
        return answers

    async def aclose(self) -> None:
        if self._replies is not None:
            self._replies.end(ConnectionError("closed"))
        if self._connection is not None:
            await self._connection.disconnect(nowait=True)

    async def _opened(self) -> Replies:
        async with self._opening:
            if self._replies is None or self._replies.lost is not None:
                await self.aclose()
                self._connection = bare_connection(self._url, self._name)
                async with asyncio.timeout(CONNECT_S):
                    await self._connection.connect()  # type: ignore[no-untyped-call]
                self._replies = Replies(transport_of(self._connection))
            return self._replies
