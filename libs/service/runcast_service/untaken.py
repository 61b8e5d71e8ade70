"""What a client has not taken of what was written to it."""

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
