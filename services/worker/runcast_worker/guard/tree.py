"""All processes below this one, wherever they went: read from /proc, signalled, ended.

Nothing hides: whose parent ended comes back to the guard, which adopts orphans (kernel.adopt_orphans).
"""

import contextlib
import os
import signal
from time import monotonic, sleep

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
STUBBORN_S = 5.0
"""A process that SIGKILL does not end in this time hangs in the kernel; nobody can help it."""


class Process:
    """`rss` in bytes, what is shared counted in full. `cpu_s`: its own and that of its children that it has reaped."""

    __slots__ = ("cpu_s", "group", "parent", "pid", "rss", "threads")

    def __init__(self, pid: int, parent: int, group: int, threads: int, rss: int, cpu_s: float) -> None:
        self.pid, self.parent, self.group, self.threads = pid, parent, group, threads
        self.rss, self.cpu_s = rss, cpu_s


def processes(names: set[str]) -> list[Process]:
    """Those of these ids that are still there."""
    found = []
    for name in names:
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
            cpu_s = sum(map(int, fields[11:15])) * _TICK_S
            parent, group, threads, pages = (int(fields[at]) for at in (1, 2, 17, 21))
            found.append(Process(int(name), parent, group, threads, pages * _PAGE, cpu_s))
    return found


def everybody() -> set[str]:
    """The ids of all processes, as /proc has them."""
    return {name for name in os.listdir("/proc") if name[0].isdigit()}


def below(root: int, names: set[str] | None = None) -> list[Process]:
    """The descendants of a process, nearest first. `names`: all that they can be among; else everybody."""
    children: dict[int, list[Process]] = {}
    for process in processes(everybody() if names is None else names):
        children.setdefault(process.parent, []).append(process)
    found = list(children.get(root, ()))
    for process in found:  # grows while we walk
        found += children.get(process.pid, ())
    return found


def proportional_rss(tree: list[Process]) -> int:
    """What is shared divided by its sharers: exact, and slow. Where it may not be read, as stat says."""
    total = 0
    for process in tree:
        try:
            with open(f"/proc/{process.pid}/smaps_rollup", "rb") as file:
                total += int(file.read().partition(b"\nPss:")[2].split()[0]) * 1024
        except (OSError, IndexError, ValueError):
            total += process.rss
    return total


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def reap(main: int) -> int | None:
    """Take the ends of all children that have ended; returns the wait status of `main`, if it is among them. Raises
    ChildProcessError when there is no child at all."""
    status = None
    while True:
        try:
            pid, found = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            if status is None:
                raise
            return status
        if pid == 0:
            return status
        if pid == main:
            status = found


def end(main: int, *, ended_before: bool = False) -> int | None:
    """Kill all that is below this process, until nothing is. Returns the wait status of `main` if it ended here."""
    if not ended_before:  # else its number may be somebody else's by now
        # A whole group at once, which no fork of its members outruns; and with bubblewrap the namespace falls with it.
        send_group(main, signal.SIGKILL)
    status = None
    known: set[int] = set()
    deadline = monotonic() + STUBBORN_S
    while monotonic() < deadline:
        try:
            ended = reap(main)
        except ChildProcessError:
            return status
        status = status if ended is None else ended
        # Stopped before they are killed: whoever starts groups faster than we kill them is caught before the next.
        stopped: set[int] = set()
        while found := [process for process in below(os.getpid()) if process.pid not in stopped]:
            for process in found:
                send(process.pid, signal.SIGSTOP)
                stopped.add(process.pid)
        for pid in stopped:
            send(pid, signal.SIGKILL)
        if stopped - known:  # as long as there are new ones they are worth chasing
            known |= stopped
            deadline = monotonic() + STUBBORN_S
        sleep(0.002)
    return status


def send_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
