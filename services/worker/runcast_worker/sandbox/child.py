"""A child process with its own session, seen through two pipes of ours, that leaves nothing of its group behind.

Only of its group: a process that starts a session of its own (setsid) escapes, and when the worker itself is killed
(SIGKILL) nobody ends the group. Both come with the sandbox.

The pipes are ours, not asyncio's: a grandchild that keeps one open can then neither hold up the wait for the child's
end nor outlive the call unnoticed.
"""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""
PIPE_CHARS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Consumption:
    """Of all its processes together. `cpu_s` counts those that have ended too."""

    rss_bytes: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Child:
    """A running command. `process.pid` is also the id of its process group."""

    process: Process
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader

    async def wait(self) -> int:
        """Its exit code when it has ended; negative for a signal."""
        return await self.process.wait()

    @property
    def killed(self) -> str | None:
        """Which limit it was killed for (memory, processes, disk), once it has ended; None: for none."""
        return None

    def consumption(self) -> Consumption:
        """What it takes now."""
        return Consumption(0, 0.0)


@asynccontextmanager
async def child(argv: Sequence[str], folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Child]:
    """Start it; at the end (also by cancellation) SIGTERM its group if it still runs, then SIGKILL. Raises OSError."""
    async with contextlib.AsyncExitStack() as stack:
        stdout, out = await _pipe(stack)
        stderr, err = await _pipe(stack)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, cwd=folder, env=environ, stdin=DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        finally:
            out.close()
            err.close()
        try:
            yield Child(process, stdout, stderr)
        finally:
            await _end(process)


async def _pipe(stack: contextlib.AsyncExitStack) -> tuple[asyncio.StreamReader, BinaryIO]:
    """A reader, and the end that the child writes to: `stack` closes both, also when this wait is cancelled."""
    read_fd, write_fd = os.pipe()
    source = stack.enter_context(os.fdopen(read_fd, "rb", buffering=0))
    sink = stack.enter_context(os.fdopen(write_fd, "wb", buffering=0))
    reader = asyncio.StreamReader(limit=PIPE_CHARS)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), source
    )
    stack.callback(transport.close)
    return reader, sink


async def _end(process: Process) -> None:
    try:
        if process.returncode is None:
            _signal(process, signal.SIGTERM)
            async with asyncio.timeout(GRACE_S):
                await process.wait()
    except TimeoutError:
        pass
    finally:
        # Also when the child ended by itself, or this wait was cancelled: its group may live on without it.
        _signal(process, signal.SIGKILL)
    async with asyncio.timeout(GRACE_S):
        await process.wait()


def _signal(process: Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
