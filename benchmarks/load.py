"""Clients that cost little: raw protocols that look for what they need and parse nothing else."""

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from benchmarks.stack import LOOPBACK

CONNECT_S = 30.0
AT_ONCE = 64
BLOCK_BYTES = 1024


class Stream(asyncio.Protocol):
    """One SSE client. `opened` is done with the first frame (`connected`). Chunk headers of the transfer encoding stay
    in what `take` sees: a chunk holds whole frames, so they never stand inside of one."""

    def __init__(self, path: str, cursor: str = "") -> None:
        resume = f"Last-Event-ID: {cursor}\r\n" if cursor else ""
        self._request = f"GET {path} HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n{resume}\r\n".encode()
        self._head = b""
        self._open = False
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._open:
            self.take(data)
            return
        self._head += data
        if b"event: connected\n" in self._head and b"\n\n" in self._head:
            self._open = True
            if not self.opened.done():
                self.opened.set_result(None)
            self.take(self._head)
        elif len(self._head) > BLOCK_BYTES or not b"HTTP/1.1 200".startswith(self._head[:12]):
            self._fail(f"expected an open stream, got {self._head[:300]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"the stream closed: {exc}")

    def take(self, data: bytes) -> None:
        """Bytes of the stream, as they come."""

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()

    def _fail(self, reason: str) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectionError(reason))


S = TypeVar("S", bound=Stream)


async def open_streams(port: int, makers: Sequence[Callable[[], S]]) -> list[S]:
    """All of them open, `AT_ONCE` at a time. Raises ConnectionError, TimeoutError."""
    gate = asyncio.Semaphore(AT_ONCE)
    loop = asyncio.get_running_loop()

    async def one(make: Callable[[], S]) -> S:
        async with gate:
            _, stream = await loop.create_connection(make, LOOPBACK, port)
            await stream.opened
            return stream

    async with asyncio.timeout(CONNECT_S):
        return await asyncio.gather(*map(one, makers))


class Lines(Stream):
    """A stream read line by line; `on_event` gets the type of each frame."""

    def __init__(self, path: str, on_event: Callable[[bytes], None]) -> None:
        super().__init__(path)
        self._rest = b""
        self._on_event = on_event

    def take(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"event: "):
                self._on_event(line[7:])


class Poster:
    """One kept connection for POSTs of JSON."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> "Poster":
        return cls(*await asyncio.open_connection(LOOPBACK, port))

    async def post(self, path: str, document: object) -> dict[str, Any]:
        """Returns what was answered. Raises ConnectionError for any but a 202."""
        body = json.dumps(document).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._writer.write(head.encode() + b"\r\n\r\n" + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        said = await self._reader.readexactly(int(length.partition(b":")[2]))
        if not answer.startswith(b"HTTP/1.1 202"):
            raise ConnectionError(f"expected 202, got {answer[:20]!r} {said[:300]!r}")
        found: dict[str, Any] = json.loads(said)
        return found

    def close(self) -> None:
        self._writer.close()
