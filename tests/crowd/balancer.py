"""A load balancer as clients meet it before several gateways: each connection goes to the next one that lives, and what
becomes of it there shows at the client."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

from tests.crowd.line import LOOPBACK

CONNECT_S = 2.0


class Half(asyncio.Protocol):
    """One side of a relayed connection. It reads no more than the other side takes."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Half | None = None
        self._early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def join(self, other: "Half") -> None:
        """From now on."""
        self.other = other
        assert other.transport is not None
        other.transport.write(self._early)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self._early += data  # a request: its client waits for what is answered
            return
        assert self.other.transport is not None
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        self._reading(on=False)

    def resume_writing(self) -> None:
        self._reading(on=True)

    def _reading(self, *, on: bool) -> None:
        peer = self.other.transport if self.other is not None else None
        if peer is not None and not peer.is_closing():
            peer.resume_reading() if on else peer.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """What was read before goes out; then the other side ends as this one did."""
        if self.other is not None and self.other.transport is not None:
            if exc is None:
                self.other.transport.close()
            else:
                self.other.transport.abort()


class Front(Half):
    """A client's side; made when it connects."""

    def __init__(self, balancer: "Balancer") -> None:
        super().__init__()
        self._balancer = balancer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._balancer.relay(self)


@dataclass
class Balancer:
    """`backends`: ports, in turn. A client that none of them accepts is turned away by a reset. `port`: its own.
    `relayed`: connections so far, by back end."""

    backends: list[int]
    port: int = 0
    relayed: dict[int, int] = field(default_factory=dict)
    _turn: int = 0
    _relaying: set[asyncio.Task[None]] = field(default_factory=set)

    def relay(self, front: Front) -> None:
        task = asyncio.ensure_future(self._connect(front))
        self._relaying.add(task)
        task.add_done_callback(self._relaying.discard)

    async def _connect(self, front: Front) -> None:
        assert front.transport is not None
        for port in self._in_turn():
            try:
                async with asyncio.timeout(CONNECT_S):
                    _, back = await asyncio.get_running_loop().create_connection(Half, LOOPBACK, port)
            except OSError:  # and TimeoutError
                continue
            self.relayed[port] = self.relayed.get(port, 0) + 1
            front.join(back)
            back.join(front)
            if front.transport.is_closing():
                assert back.transport is not None
                back.transport.abort()
            return
        front.transport.abort()

    def _in_turn(self) -> Sequence[int]:
        self._turn += 1
        at = self._turn % max(1, len(self.backends))
        return self.backends[at:] + self.backends[:at]

    async def end(self) -> None:
        for task in self._relaying:
            task.cancel()
        await asyncio.gather(*self._relaying, return_exceptions=True)


@asynccontextmanager
async def balancing(*backends: int) -> AsyncIterator[Balancer]:
    """Clients are to have left before the block ends."""
    balancer = Balancer(list(backends))
    server = await asyncio.get_running_loop().create_server(lambda: Front(balancer), LOOPBACK, 0, backlog=1024)
    balancer.port = server.sockets[0].getsockname()[1]
    try:
        yield balancer
    finally:
        server.close()
        await balancer.end()
