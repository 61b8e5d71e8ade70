"""What a command writes to and the worker reads: two pipes, or one terminal.

They are ours, not asyncio's: a process that keeps one open can then neither hold up the wait for the command's end nor
outlive the call unnoticed.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import struct
import termios
from dataclasses import dataclass
from typing import BinaryIO

BUFFER_BYTES = 64 * 1024
COLUMNS, LINES = 120, 40


@dataclass(frozen=True, slots=True)
class Streams:
    """`out` and `err`: the command's ends; close them when it has them. With a terminal `err` is `out`, and `stderr`
    is at its end."""

    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader
    out: BinaryIO
    err: BinaryIO


class _Protocol(asyncio.StreamReaderProtocol):
    """Linux says EIO where the last process has closed its end of a terminal: that is its end."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(None if isinstance(exc, OSError) and exc.errno == errno.EIO else exc)


async def pipes(stack: contextlib.AsyncExitStack) -> Streams:
    stdout, out = await _reader(stack, *os.pipe())
    stderr, err = await _reader(stack, *os.pipe())
    return Streams(stdout, stderr, out, err)


async def terminal(stack: contextlib.AsyncExitStack) -> Streams:
    """Without echo, and lines end as they were written."""
    master, slave = os.openpty()
    attributes = termios.tcgetattr(slave)
    attributes[1] &= ~termios.OPOST
    attributes[3] &= ~termios.ECHO
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    stdout, out = await _reader(stack, master, slave)
    nothing = asyncio.StreamReader()
    nothing.feed_eof()
    return Streams(stdout, nothing, out, out)


async def _reader(stack: contextlib.AsyncExitStack, ours: int, theirs: int) -> tuple[asyncio.StreamReader, BinaryIO]:
    """`stack` closes both ends, also when this wait is cancelled."""
    source = stack.enter_context(os.fdopen(ours, "rb", buffering=0))
    sink = stack.enter_context(os.fdopen(theirs, "wb", buffering=0))
    reader = asyncio.StreamReader(limit=BUFFER_BYTES)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _Protocol(reader), source)
    stack.callback(transport.close)
    return reader, sink
