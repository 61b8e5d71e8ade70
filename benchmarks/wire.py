"""A pipelined connection to the store that stands in for redis-py where EventLog wants a client.

Ten thousand appends a second, each of its own as in the product, would cost redis-py more than a core. The scripts,
their keys and their arguments are EventLog's own; only the way to the store is shorter.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

import hiredis
from redis.typing import EncodableT

Script = Callable[..., Awaitable[object]]


class Wire(asyncio.Protocol):
    """Commands are answered in order. An error reply, or a lost connection, is raised to whoever awaits."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[asyncio.Future[object]] = deque()
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._scripts: list[str] = []
        self._unsent: list[bytes] = []

    @classmethod
    async def connect(cls, host: str, port: int) -> "Wire":
        _, wire = await asyncio.get_running_loop().create_connection(cls, host, port)
        return wire

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            waiter = self._waiting.popleft()
            if isinstance(reply, hiredis.HiredisError):
                waiter.set_exception(reply)
            elif not waiter.done():
                waiter.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        while self._waiting:
            self._waiting.popleft().set_exception(ConnectionError(f"the store closed the connection: {exc}"))

    def register_script(self, text: str) -> Script:
        """As redis-py's; `load` has to follow before the first call."""
        digest = hashlib.sha1(text.encode()).hexdigest()
        self._scripts.append(text)

        async def call(keys: Sequence[str], args: Sequence[EncodableT]) -> object:
            return await self.send("EVALSHA", digest, len(keys), *keys, *args)

        return call

    async def load(self) -> None:
        for text in self._scripts:
            await self.send("SCRIPT", "LOAD", text)

    def send(self, *command: EncodableT) -> asyncio.Future[object]:
        waiter: asyncio.Future[object] = self._loop.create_future()
        self._waiting.append(waiter)
        if not self._unsent:
            self._loop.call_soon(self._flush)  # one system call for all commands of this turn of the loop
        self._unsent.append(hiredis.pack_command(command))
        return waiter

    def _flush(self) -> None:
        assert self._transport is not None
        self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()
