"""Clients for the benchmark `slow`: fast ones whose arrivals are timed, slow ones, and some that never read."""

import asyncio
import socket
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic_ns

from benchmarks.load import Stream, open_streams
from benchmarks.stack import LOOPBACK

FAST, SLOW, DEAF = 1780, 200, 20
PACE = 50_000
"""Bytes a second of a slow client."""
SMALL_BUFFER, ETHERNET_MSS = 4096, 1400
"""Of slow clients, as on a network: on loopback the sender's kernel would take megabytes for each of them."""
MARK = b'"delta":"@'
NEED = len(MARK) + 16 + 1 + 8
"""@<us, 16 digits> <number, 8>: fixed width, so that reading it is slicing."""


@dataclass
class Arrivals:
    """What the fast clients of a round saw of events written since `measure_us`; `wrong`: not the next one, of all."""

    measure_us: int
    took_us: "array[float]"
    wrong: int = 0


class Watcher(Stream):
    """One client. `last`: the number of the last event that came. `pace`: bytes a second; None: all there is."""

    def __init__(self, session_id: str, arrivals: Arrivals, pace: float | None = None) -> None:
        super().__init__(f"/stream/sessions/{session_id}?last_event_id=latest")
        self._arrivals, self._pace = arrivals, pace
        self._rest = b""
        self.last = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._pace is not None and self.transport is not None:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(len(data) / self._pace, self._go_on)

    def _go_on(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()

    def take(self, data: bytes) -> None:
        now_us = monotonic_ns() // 1000
        data, end = self._rest + data, 0
        while (at := data.find(MARK, end)) >= 0 and at + NEED <= len(data):
            start, end = at + len(MARK), at + NEED
            self._event(now_us, int(data[start : start + 16]), int(data[start + 17 : end]))
        self._rest = data[at:] if at >= 0 else data[max(end, len(data) - len(MARK) + 1) :]

    def _event(self, now_us: int, sent_us: int, number: int) -> None:
        self._arrivals.wrong += number != self.last + 1
        self.last = number
        if self._pace is None and sent_us >= self._arrivals.measure_us:
            self._arrivals.took_us.append(now_us - sent_us)


class Slow(Watcher):
    """Told before it connects how little room it has: what the gateway may send is settled then."""

    async def connect(self, port: int) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, sock=await _small_socket(port))
        await self.opened


async def _small_socket(port: int) -> socket.socket:
    small = socket.socket()
    small.setblocking(False)
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    small.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, ETHERNET_MSS)
    await asyncio.get_running_loop().sock_connect(small, (LOOPBACK, port))
    return small


@dataclass
class Clients:
    """Those of a round."""

    fast: list[Watcher]
    slow: list[Slow]
    deaf: list[socket.socket]

    def close(self) -> None:
        for watcher in (*self.fast, *self.slow):
            watcher.close()
        for small in self.deaf:
            small.close()


async def open_clients(port: int, session_ids: Sequence[str], arrivals: Arrivals, slow: bool) -> Clients:
    """All of them there, spread over the sessions."""

    def session_id(index: int) -> str:
        return session_ids[index % len(session_ids)]

    def watcher(index: int) -> Callable[[], Watcher]:
        return lambda: Watcher(session_id(index), arrivals)

    fast = await open_streams(port, [watcher(index) for index in range(FAST)])
    clients = Clients(fast, [], [])
    if slow:
        for index in range(SLOW):
            clients.slow.append(Slow(session_id(index), arrivals, PACE))
            await clients.slow[-1].connect(port)
        for index in range(DEAF):
            clients.deaf.append(await _small_socket(port))
            request = f"GET /stream/sessions/{session_id(index)}?last_event_id=latest HTTP/1.1\r\nHost: bench\r\n\r\n"
            await asyncio.get_running_loop().sock_sendall(clients.deaf[-1], request.encode())
    return clients
