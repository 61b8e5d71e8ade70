"""A command with its guard, seen from the worker.

A guard (runcast_worker.guard) is started for every command and is its parent. Between the two and the worker are the
command's output and one socket; the worker says `t` (SIGTERM to all) or closes it (end all), the guard tells lines:
`started <pid>`, `failed <errno> <words>`, `sample <rss> <cpu_s>`, `ended <exit code> <limit or -> <cpu_s>`,
`broken <error>`.
"""

import asyncio
import contextlib
import errno
import logging
import os
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from runcast_worker.guard.orders import GIVEN, Orders
from runcast_worker.sandbox import remains
from runcast_worker.sandbox.report import Consumption, Report
from runcast_worker.sandbox.streams import pipes, terminal

logger = logging.getLogger(__name__)

GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""
END_S = 6.0
"""A guard is waited for this long; it ends what there is also without us."""
START_S = 20.0
"""A machine may be busy."""
OWN = ("LD_LIBRARY_PATH",)
"""Of the worker's environment, for its guards: without it an interpreter in an unusual place does not start."""
_ROOT = Path(__file__).parents[2]
_BOOT = f"import sys; sys.path.append({str(_ROOT)!r}); from runcast_worker.guard.guard import main; main()"


@dataclass(frozen=True, slots=True)
class Child:
    """A running command. `pid`: of its process, which is the leader of a session."""

    pid: int
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader
    report: Report

    async def wait(self) -> int:
        """Its exit code when it has ended; negative for a signal."""
        return await asyncio.shield(self.report.ended)

    @property
    def killed(self) -> str | None:
        """What it was killed for, once it has ended: memory, processes, disk, cpu, or guard where somebody killed its
        guard; None: for nothing of these."""
        return self.report.killed

    def consumption(self) -> Consumption:
        """What it took at its guard's last look, at most half a second ago."""
        return self.report.consumption


@asynccontextmanager
async def child(orders: Orders, folder: Path, environ: Mapping[str, str]) -> AsyncIterator[Child]:
    """Start it; at the end (also by cancellation) SIGTERM to all its processes if it still runs, then SIGKILL to what
    is left. Raises OSError, which always says in words what was wrong."""
    for word in orders.argv:
        _check(f"the argument {word[:40]!r}", word)
    for name, value in environ.items():
        _check(f"the variable {name[:40]!r}", f"{name}={value}")  # whose value may be a secret
    async with contextlib.AsyncExitStack() as stack:
        streams = await (terminal if orders.tty else pipes)(stack)
        ours, theirs = socket.socketpair()
        stack.callback(theirs.close)
        try:
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()
            raise
        stack.callback(writer.close)
        if not orders.confined:
            remains.adopt()
        argv = (sys.executable, "-I", "-S", "-c", _BOOT, *orders.words())
        guard = await asyncio.create_subprocess_exec(
            *argv,
            cwd=folder,
            env=_guarded(environ),
            stdin=theirs.fileno(),
            stdout=streams.out,
            stderr=streams.err,
            start_new_session=True,
        )
        theirs.close()
        streams.out.close()
        streams.err.close()
        report = Report()
        listening = asyncio.create_task(report.listen(reader), name="guard's report")
        try:
            pid = await _started(report)
            yield Child(pid, streams.stdout, streams.stderr, report)
        finally:
            await _end(guard, writer, report)
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


def _check(what: str, word: str) -> None:
    """Raises OSError where no program could be given this word."""
    try:
        wrong = "a NUL character" if b"\0" in os.fsencode(word) else None
    except UnicodeEncodeError as error:
        wrong = f"U+{ord(word[error.start]):04X}, which is no character"
    if wrong:
        raise OSError(errno.EINVAL, f"{what} holds {wrong}")


async def _started(report: Report) -> int:
    try:
        async with asyncio.timeout(START_S):
            return await asyncio.shield(report.started)
    except TimeoutError:
        if report.started.done():
            raise  # the command's own
        raise TimeoutError(errno.ETIMEDOUT, f"its guard has not started it in {START_S:g} s") from None


def _guarded(environ: Mapping[str, str]) -> dict[str, str]:
    """The guard's environment: the command's, under names that mean nothing to the loader of a program (LD_PRELOAD),
    nor to Python. The guard is outside the sandbox, and the command's variables are an agent's."""
    own = {name: os.environ[name] for name in OWN if name in os.environ}
    return own | {GIVEN + name: value for name, value in environ.items()}


async def _end(guard: Process, writer: asyncio.StreamWriter, report: Report) -> None:
    try:
        if report.started.done() and not report.ended.done():
            writer.write(b"t")
            async with asyncio.timeout(GRACE_S):
                await asyncio.shield(report.ended)
    except TimeoutError:
        pass
    finally:
        writer.close()  # also when this wait was cancelled: the guard ends all, without us
    try:
        async with asyncio.timeout(END_S):
            code = await guard.wait()
    except TimeoutError:
        if not remains.is_stopped(guard.pid):
            logger.error("a guard has not ended its command in %g s; it goes on", END_S)
            return
        guard.kill()
        code = await guard.wait()
    if code != 0:
        begun = report.started.done() and not report.started.exception()
        await asyncio.to_thread(remains.end, report.started.result() if begun else remains.NOBODY)
