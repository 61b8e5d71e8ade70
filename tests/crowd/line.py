"""One connection of a reader: HTTP by httptools, so that a stream that broke off is known from one that ended."""

import asyncio
import random
import socket
from collections.abc import Callable
from typing import Literal, cast

import httptools

from tests.crowd.frames import Blocks

LOOPBACK = "127.0.0.1"
SMALL_BUFFER = 4096
"""What a slow client's kernel takes for it; Linux doubles what it is told, for its own needs."""
ETHERNET_MSS = 1400
"""Of a slow client too. On loopback a segment has 64 KB, and the *sender's* kernel sizes its buffer by that: it takes
3 MB at once for a client that reads nothing, and tells nothing of a slow one's progress before a third of it has left.
"""
Ending = Literal["dropped", "broken", "complete"]


async def open_socket(port: int, *, slow: bool = False) -> socket.socket:
    """Connected. `slow`: with little room, told before, since what the peer is offered is settled at the connect."""
    opened = socket.socket()
    opened.setblocking(False)
    if slow:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET_MSS)
    try:
        await asyncio.get_running_loop().sock_connect(opened, (LOOPBACK, port))
    except BaseException:
        opened.close()
        raise
    return opened


def request(session_id: str, cursor: str) -> bytes:
    """`cursor`: as Last-Event-ID; empty for none."""
    resume = f"Last-Event-ID: {cursor}\r\n" if cursor else ""
    head = f"GET /stream/sessions/{session_id} HTTP/1.1\r\nHost: crowd\r\nAccept: text/event-stream\r\n{resume}\r\n"
    return head.encode()


class Line(asyncio.Protocol):
    """`take` gets every block, until it has ended. `pace`: bytes a second to read at most, of everything that comes;
    it may be lifted. `ended`: `dropped` by us, `broken` off, or `complete` as HTTP tells it."""

    def __init__(self, asked: bytes, take: Callable[[bytes], None], pace: float | None = None) -> None:
        self._asked, self._take, self.pace = asked, take, pace
        self._blocks = Blocks()
        self._parser = httptools.HttpResponseParser(self)
        self._cut: random.Random | None = None
        self._ending: Ending = "broken"
        self._transport: asyncio.Transport | None = None
        self.status = 0
        self.ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def drop(self, chance: random.Random) -> None:
        """Leave in the midst of what comes next, which `chance` cuts anywhere."""
        self._cut = chance

    def abort(self) -> None:
        self._leave(hard=True)

    def _leave(self, hard: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._ending = "dropped"
            if hard:
                self._transport.abort()
            else:
                self._transport.close()

    # --- of the transport ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._asked)

    def data_received(self, data: bytes) -> None:
        if self._ending == "dropped":
            return
        if self._cut is not None:
            self._parser.feed_data(data[: self._cut.randrange(len(data) + 1)])
            self._leave(hard=self._cut.random() < 0.5)
            return
        self._parser.feed_data(data)
        if self.pace is not None and self._transport is not None:
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(len(data) / self.pace, self._go_on)

    def _go_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(self._ending)

    # --- of the parser -------------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        for block in self._blocks.feed(body):
            self._take(block)

    def on_message_complete(self) -> None:
        self._ending = "complete"
