"""What a client has not taken of what was written to it, and since when: a socket says that it is full, not that it is
stuck, and one to a machine that has vanished says nothing."""

import asyncio
import fcntl
import socket
import struct
import termios

_INFO_BYTES, _BYTES_ACKED = 128, 120
"""Of `struct tcp_info` in Linux' include/uapi/linux/tcp.h: as much as ends with tcpi_bytes_acked, and where that is."""


class Backlog:
    """Of one client, while somebody asks for it again and again. `waiting`: bytes, at the last look."""

    __slots__ = ("_mark", "_since", "_transport", "waiting")

    def __init__(self, transport: asyncio.WriteTransport, now: float) -> None:
        self._transport, self._since = transport, now
        self.waiting = 0
        self._mark = self._look()

    def moved(self) -> bool:
        """Whether something was taken since the last look."""
        before, self._mark = self._mark, self._look()
        return self._mark != before

    def stands_still(self, now: float, timeout_s: float) -> bool:
        """True if something waits and nothing of it was taken for `timeout_s`."""
        if self.moved():
            self._since = now
        return self.waiting > 0 and now - self._since > timeout_s

    def _look(self) -> int:
        """A number that changes when something is taken. What waits is a poor one: it grows with what is written."""
        self.waiting = untaken(self._transport)
        taken = _acknowledged(self._transport)
        return self.waiting if taken is None else taken


def untaken(transport: asyncio.WriteTransport) -> int:
    """Bytes that the client's machine has not acknowledged: ours, and where there is a socket the kernel's."""
    waiting = transport.get_write_buffer_size()
    endpoint = transport.get_extra_info("socket")
    if endpoint is None:
        return waiting
    try:
        (queued,) = struct.unpack("i", fcntl.ioctl(endpoint.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
    except OSError:
        return waiting  # it has just been closed
    return waiting + int(queued)


def _acknowledged(transport: asyncio.WriteTransport) -> int | None:
    """Bytes since the connect; None where no socket of Linux tells."""
    endpoint = transport.get_extra_info("socket")
    if endpoint is None or not hasattr(socket, "TCP_INFO"):
        return None
    try:
        info = endpoint.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
    except OSError:
        return None  # it has just been closed
    return int(struct.unpack_from("Q", info, _BYTES_ACKED)[0]) if len(info) == _INFO_BYTES else None
