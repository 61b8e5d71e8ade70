"""Where the server hands no transport over: the same bytes through ASGI's `send`, behind the face of a transport."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from starlette.types import Receive, Send

HIGH_WATER = 64 * 1024
HEAR_S = 1.0


class AsgiTransport(asyncio.Transport):
    """What is written waits for `run`, which awaits the server; `protocol` hears of the pauses, as with a socket's
    transport."""

    def __init__(self, protocol: asyncio.Protocol, send: Callable[[bytes], Awaitable[None]]) -> None:
        super().__init__()
        self._protocol, self._send = protocol, send
        self._waiting: list[bytes] = []
        self._size = 0
        self._paused = self._closing = False
        self._news = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not data:
            return
        self._waiting.append(bytes(data))
        self._size += len(data)
        self._news.set()
        if self._size > HIGH_WATER and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def get_write_buffer_size(self) -> int:
        return self._size

    def close(self) -> None:
        self._closing = True
        self._news.set()

    def abort(self) -> None:
        self._closing = True
        if self._running is not None:
            self._running.cancel()

    def is_closing(self) -> bool:
        return self._closing

    async def run(self, until_left: Coroutine[Any, Any, None]) -> bool:
        """Until closed and flushed (True), aborted, or left by the client: then `until_left` returns."""
        self._running = asyncio.create_task(self._write_on())
        leaving = asyncio.create_task(until_left)
        try:
            await asyncio.wait((self._running, leaving), return_when=asyncio.FIRST_COMPLETED)
            if self._running.done() and not self._running.cancelled() and self._running.exception() is not None:
                await asyncio.wait((leaving,), timeout=HEAR_S)  # it is gone, and was not yet heard to its end
            if leaving.done():
                leaving.result()
            return self._running.done() and not self._running.cancelled() and self._running.exception() is None
        finally:
            self._closing = True
            for task in (self._running, leaving):
                task.cancel()
            await asyncio.gather(self._running, leaving, return_exceptions=True)

    @staticmethod
    def _messages(waiting: list[bytes]) -> Sequence[bytes]:
        """How what waits is given to the server."""
        return (b"".join(waiting),)

    async def _write_on(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._news.clear()
                await self._news.wait()
                continue
            waiting, self._waiting = self._waiting, []
            for data in self._messages(waiting):
                await self._send(data)
                self._size -= len(data)
            if self._paused and not self._waiting:
                self._paused = False
                self._protocol.resume_writing()


async def run_response(protocol: asyncio.Protocol, transport: AsgiTransport, receive: Receive, send: Send) -> None:
    """Everything of a response after its start. One that was aborted is returned from without an end, which a server
    takes for what it is."""
    try:
        if await transport.run(_left(receive)):
            await send({"type": "http.response.body", "body": b"", "more_body": False})
    finally:
        protocol.connection_lost(None)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
