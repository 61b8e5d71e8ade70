"""A client that is nothing but a socket: what it sends is what it is told, and it reads when it is told."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.gateway.running import Gateway

GET = "GET {path} HTTP/1.1\r\nHost: test\r\nAccept: text/event-stream\r\n{more}\r\n"
_CHUNK = re.compile(rb"(?:^|\r\n)[0-9a-f]+\r\n")


class RawClient:
    """`received`: every byte so far."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self.writer = reader, writer
        self.received = b""

    async def until(self, text: bytes, timeout_s: float = 10) -> bytes:
        """Read on until this was received. Raises AssertionError when the connection ends before."""
        async with asyncio.timeout(timeout_s):
            while text not in self.received:
                data = await self._reader.read(65536)
                assert data, f"the connection ended after {self.received[-300:]!r}"
                self.received += data
        return self.received

    async def to_end(self, timeout_s: float = 10) -> bytes:
        """Read on until the server closes."""
        async with asyncio.timeout(timeout_s):
            while data := await self._reader.read(65536):
                self.received += data
        return self.received

    @property
    def ids(self) -> list[str]:
        """The ids of all events received, whatever the framing."""
        body = _CHUNK.sub(b"", self.received.partition(b"\r\n\r\n")[2])
        frames = [frame for frame in body.split(b"\n\n") if b'\ndata: {"event_type"' in frame]
        return [re.search(rb"(?m)^id: (\S+)", frame)[1].decode() for frame in frames]  # type: ignore[index]


@asynccontextmanager
async def raw_client(
    gateway: Gateway, path: str, *, request: str = GET, more: str = "", receive_bytes: int | None = None
) -> AsyncIterator[RawClient]:
    """`more`: header lines, each with its line end. `receive_bytes`: of the kernel's receive buffer."""
    host, port = gateway.base.removeprefix("http://").split(":")
    sock = socket.socket()
    sock.setblocking(False)
    if receive_bytes is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    await asyncio.get_running_loop().sock_connect(sock, (host, int(port)))
    reader, writer = await asyncio.open_connection(sock=sock, limit=4096)
    writer.write(request.format(path=path, more=more).encode())
    try:
        yield RawClient(reader, writer)
    finally:
        writer.transport.abort()
