"""What a client has not taken, and since when: a socket says that it is full, not that it is stuck."""

import asyncio
import fcntl
import struct
import termios


def untaken(transport: asyncio.WriteTransport) -> int:
    """Bytes that the client's machine has not acknowledged: ours, and where there is a socket the kernel's."""
    waiting = transport.get_write_buffer_size()
    socket = transport.get_extra_info("socket")
    if socket is None:
        return waiting
    try:
        (queued,) = struct.unpack("i", fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))
    except OSError:
        return waiting  # it has just been closed
    return waiting + int(queued)


class Backlog:
    """Of one client, while somebody asks for it again and again."""

    __slots__ = ("_bytes", "_since", "_transport")

    def __init__(self, transport: asyncio.WriteTransport, now: float) -> None:
        self._transport = transport
        self._bytes, self._since = untaken(transport), now

    def stands_still(self, now: float, timeout_s: float) -> bool:
        """True if something waits and nothing of it was taken for `timeout_s`."""
        waiting = untaken(self._transport)
        if waiting != self._bytes:
            self._bytes, self._since = waiting, now
        return waiting > 0 and now - self._since > timeout_s
