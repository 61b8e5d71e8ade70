"""What is left of a command whose guard is gone, killed or broken.

In the reduced tier all of it becomes the worker's children, also what has left its session; and it is told from the
worker's own children, guards and MCP servers, by the filter of system calls, which nobody puts off. In bubblewrap the
kernel ends all of it with the guard.
"""

import contextlib
import logging
import os
import signal
from time import monotonic, sleep

from runcast_worker.guard import kernel, seccomp

logger = logging.getLogger(__name__)

NEW_S = 2.0
"""There has to be somebody new within this time, else those that are left do not die of SIGKILL."""
ALL_S = 20.0
NOBODY = -1
"""As a leader: it is not known. What came to us is ended all the same."""


class _Process:
    __slots__ = ("dead", "parent", "pid", "session")

    def __init__(self, pid: int, parent: int, session: int, dead: bool) -> None:
        self.pid, self.parent, self.session, self.dead = pid, parent, session, dead


def adopt() -> None:
    """From now on what loses its guard comes to this process. Not where it could not be told from others."""
    if seccomp.missing() is None:
        kernel.adopt_orphans()


def end(leader: int) -> None:
    """SIGKILL to every process of the session that `leader` leads, and to all that came to us confined, until there is
    none."""
    known: set[int] = set()
    last = monotonic() + ALL_S
    deadline = monotonic() + NEW_S
    while found := _remaining(leader):
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first: whoever forks faster than we kill is held
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, number)
        now = monotonic()
        if found - known:
            known |= found
            deadline = now + NEW_S
        if now > min(deadline, last):
            logger.error("a command whose guard is gone has left %d processes", len(found))
            return
        sleep(0.005)


def _remaining(leader: int) -> set[int]:
    ours = os.getpid()
    children: dict[int, list[_Process]] = {}
    found: list[_Process] = []
    for process in _everybody():
        children.setdefault(process.parent, []).append(process)
        if process.session == leader or (process.parent == ours and _is_confined(process.pid)):
            found.append(process)
    for process in found:  # grows while we walk
        found += children.get(process.pid, ())
    for process in found:
        if process.dead and process.parent == ours:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
    return {process.pid for process in found if not process.dead}


def _everybody() -> list[_Process]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
                found.append(_Process(int(name), int(fields[1]), int(fields[3]), fields[0] in (b"Z", b"X")))
    return found


def _is_confined(pid: int) -> bool:
    """It has more filters than we have, who may be in a container that has one for all."""
    return _filters(pid) > _filters("self")


def _filters(pid: int | str) -> int:
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            return int(file.read().partition(b"\nSeccomp_filters:")[2].split(None, 1)[0])
    except (OSError, IndexError, ValueError):
        return 0


def is_stopped(pid: int) -> bool:
    """By a SIGSTOP."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False
