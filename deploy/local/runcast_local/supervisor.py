"""Child processes of one terminal: started in groups, watched, and ended in reverse order. Nothing is restarted: in
development a service that dies is a thing to look at.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, TypeVar

from runcast_local.errors import ChildDied, NotReady

READY_TIMEOUT_S = 20.0
KILL_TIMEOUT_S = 5.0
LINE_BYTES = 4096
LAST_LINES = 12

T = TypeVar("T")

Ready = Callable[[], Awaitable[bool]]
"""Whether the program serves. It bounds its own time."""


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. `environ`: the whole environment of the child. `quiet`: its lines are shown only should it die."""

    name: str
    command: tuple[str, ...]
    environ: Mapping[str, str]
    ready: Ready
    quiet: bool = False


def to_stderr(name: str, line: str) -> None:
    print(f"{name:<8}| {line}", file=sys.stderr, flush=True)


def _nowhere(name: str, line: str) -> None:
    pass


@dataclass(slots=True)
class _Output(asyncio.Protocol):
    """What a child writes, line by line; a line above LINE_BYTES is cut into several."""

    name: str
    show: Callable[[str, str], None]
    last: deque[str] = field(default_factory=lambda: deque(maxlen=LAST_LINES))
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    _rest: bytes = b""

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        while len(self._rest) > LINE_BYTES:
            lines.append(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]
        for line in lines:
            self._line(line)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._line(self._rest)
        self.ended.set()

    def _line(self, line: bytes) -> None:
        for start in range(0, max(len(line), 1), LINE_BYTES):
            text = line[start : start + LINE_BYTES].decode(errors="replace").rstrip()
            self.last.append(text)
            self.show(self.name, text)


@dataclass(slots=True)
class _Child:
    program: Program
    process: asyncio.subprocess.Process
    pipe: asyncio.ReadTransport
    output: _Output
    exited: asyncio.Task[int]

    async def death(self) -> ChildDied:
        """After its exit; its last words may still be in the pipe."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.output.ended.wait(), 0.5)
        return ChildDied(self.program.name, self.exited.result(), list(self.output.last))

    def signal(self, number: int) -> None:
        """To the child; SIGKILL to all of its process group."""
        with contextlib.suppress(ProcessLookupError):
            if self.exited.done():
                return
            if number == signal.SIGKILL:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)


class Supervisor:
    """Use as an async context manager, in the main thread (leash.py says why). `end_timeout_s`: how long a group may
    take to end before it is killed. `show` gets every line of every child.

    Leaving it ends all children. A cancellation meanwhile (a second Ctrl-C) kills what is left.
    """

    def __init__(self, end_timeout_s: float, show: Callable[[str, str], None] = to_stderr) -> None:
        self._end_timeout_s, self._show = end_timeout_s, show
        self._groups: list[list[_Child]] = []

    async def __aenter__(self) -> "Supervisor":
        return self

    async def __aexit__(self, *_: object) -> None:
        children = self._children()
        try:
            await self._end()
        finally:
            for child in children:
                child.signal(signal.SIGKILL)
            if children:
                await asyncio.wait([child.exited for child in children], timeout=KILL_TIMEOUT_S)
            for child in children:
                child.pipe.close()

    async def start(self, *programs: Program, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start a group and return when all of it is ready. Raises ChildDied (also for a child of an earlier group),
        NotReady."""
        group: list[_Child] = []
        self._groups.append(group)
        for program in programs:
            group.append(await self._spawn(program))
        deadline = monotonic() + timeout_s
        for child in group:
            while not await child.program.ready():
                await self.watch(0.03)
                if monotonic() > deadline:
                    raise NotReady(child.program.name, timeout_s, list(child.output.last))
        await self.watch(0)  # somebody else may have answered in its place

    async def watch(self, timeout_s: float | None = None) -> None:
        """Raises ChildDied as soon as a child ends by itself; returns after `timeout_s`."""
        children = self._children()
        await asyncio.wait([child.exited for child in children], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        for child in children:
            if child.exited.done():
                raise await child.death()

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. Raises ChildDied when a child ends before it, and ends `work` then."""
        watching = asyncio.create_task(self.watch(), name="children")
        working = asyncio.create_task(work)
        try:
            await asyncio.wait((watching, working), return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                watching.result()
            return working.result()
        finally:
            watching.cancel()
            working.cancel()
            await asyncio.gather(watching, working, return_exceptions=True)

    def _children(self) -> list[_Child]:
        return [child for group in self._groups for child in group]

    async def _end(self) -> None:
        for group in reversed(self._groups):
            for child in group:
                child.signal(signal.SIGTERM)
            if group:
                await asyncio.wait([child.exited for child in group], timeout=self._end_timeout_s)
            for child in group:
                if not child.exited.done():
                    self._show(child.program.name, f"did not end within {self._end_timeout_s:g} s and is killed")
                    child.signal(signal.SIGKILL)

    async def _spawn(self, program: Program) -> _Child:
        loop = asyncio.get_running_loop()
        # A pipe of our own: Process.wait() of some Python versions also waits for the end of Process.stdout, which a
        # grandchild may hold open.
        read, write = os.pipe()
        show = _nowhere if program.quiet else self._show
        pipe, output = await loop.connect_read_pipe(lambda: _Output(program.name, show), os.fdopen(read, "rb"))
        leash = (sys.executable, "-I", "-S", str(Path(__file__).with_name("leash.py")), str(os.getpid()))
        try:
            process = await asyncio.create_subprocess_exec(
                *leash,
                *program.command,
                env=dict(program.environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write,
                stderr=write,
                process_group=0,  # Ctrl-C at a terminal reaches only us: the order of the end is ours
            )
        finally:
            os.close(write)
        exited = asyncio.create_task(process.wait(), name=f"exit of {program.name}")
        return _Child(program, process, pipe, output, exited)
