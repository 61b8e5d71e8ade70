"""The guard's program: start the command, watch it and what it starts, and leave nothing behind.

Descriptor 0 is a socket to the worker, 1 and 2 are the command's. Its end of file means end all: the call is over, or
the worker is dead, by SIGKILL too. PR_SET_PDEATHSIG would be of no use here: it kills before anything is tidied up.
"""

import contextlib
import os
import resource
import select
import signal
import sys
from time import monotonic

from runcast_worker.guard import command, kernel, tree
from runcast_worker.guard.disk import Measure
from runcast_worker.guard.orders import Orders, read

FIRST_S, FASTEST_S, SLOWEST_S = 0.003, 0.01, 0.05
"""Before the first look, and between two: while something grows, and else."""
BUSY, IDLE = 4, 20
"""A look may take one part in this many of the time between two: while something grows, and else."""
MEASURE_SHARE = 0.04
"""Of a core, for measuring the workspace."""
THREADS = 8
"""For each of the processes that may be, on an average: they fill the kernel's table too."""
SAMPLE_S = 0.5
_BUBBLEWRAP_PROCESSES = 2
_WORKER = 0


class Guard:
    """One command's. Use once: `run`."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders
        os.set_blocking(_WORKER, False)
        self._unsaid = b""
        self._foreign = tree.everybody()
        """Who was there before: none of these can become our descendant."""
        self._limit = orders.processes + (_BUBBLEWRAP_PROCESSES if orders.confined else 0)
        self._measure = Measure(os.getcwd(), orders.disk)
        self._count = self._rss = self._strangers = 0
        self._groups: set[int] = set()
        self._cpu_s = 0.0
        self._ended = False
        self._pid = 0

    def run(self) -> None:
        kernel.adopt_orphans()
        _come_first()
        for number in command.IGNORED:
            signal.signal(number, signal.SIG_IGN)
        self._measure.step(FASTEST_S / 2)
        try:
            self._pid = command.start(self._orders, os.getpid())
        except OSError as error:
            self.say(f"failed {error.errno} {error.strerror}")
            return
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (1, 2):  # else the reader of the command's output would not see its end
            os.dup2(nothing, descriptor)
        self._groups = {self._pid}
        self.say(f"started {self._pid}")
        try:
            self._watch()
        finally:
            status = tree.end(self._pid, ended_before=self._ended)
            if not self._ended:
                self._tell_end(status, None)
            self._measure.close()

    def _watch(self) -> None:
        """Until the worker wants it to end, a limit is broken, or nothing is left."""
        interval, sampled = FIRST_S, monotonic()
        alive = select.poll()
        alive.register(_WORKER, select.POLLIN | select.POLLHUP)
        pidfd = _pidfd(self._pid)
        if pidfd is not None:
            alive.register(pidfd, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in alive.poll(interval * 1000)}
            if _WORKER in ready and not self._obey():
                return
            try:
                status = tree.reap(self._pid)
            except ChildProcessError:
                return
            if status is not None:
                if pidfd is not None:
                    alive.unregister(pidfd)
                self._tell_end(status, None)
            began, before = monotonic(), (self._count, self._rss)
            reason = self._broken_limit()
            took = monotonic() - began  # without the measuring, which takes its share of what comes of this
            reason = reason or self._measured(interval)
            if reason is not None:
                status = tree.end(self._pid, ended_before=self._ended)
                if not self._ended:
                    self._tell_end(status, reason)
                return
            if began - sampled >= SAMPLE_S or before == (0, 0):
                sampled = began
                self.say(f"sample {self._rss} {self._cpu_s:.3f}")
            grows = self._count > before[0] or self._rss > before[1] * 1.02
            interval = max(FASTEST_S, BUSY * took) if grows else max(min(SLOWEST_S, interval * 1.5), IDLE * took)

    def _measured(self, interval: float) -> str | None:
        self._measure.step(max(interval * MEASURE_SHARE, 0.0004))
        return "disk" if self._measure.grown_over else None

    def _broken_limit(self) -> str | None:
        new = self._newcomers()
        held = self._groups if len(new) - self._strangers > self._limit else ()
        for group in held:  # a fork bomb doubles while we would count
            tree.send_group(group, signal.SIGSTOP)
        if held:
            new = self._newcomers()
        found = tree.below(os.getpid(), new)
        self._groups = {process.group for process in found} - {os.getpgrp()}
        self._strangers = max(0, len(new) - len(found))
        self._count, self._rss = len(found), sum(process.rss for process in found)
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_s = reaped.ru_utime + reaped.ru_stime + sum(process.cpu_s for process in found)
        self._cpu_s = max(self._cpu_s, cpu_s)
        if self._count > self._limit or sum(process.threads for process in found) > THREADS * self._limit:
            return "processes"
        for group in held:
            tree.send_group(group, signal.SIGCONT)
        if self._rss > self._orders.memory and tree.proportional_rss(found) > self._orders.memory:
            return "memory"
        return None

    def _newcomers(self) -> set[str]:
        """Who came after the command; whoever was there before and has ended gives its id free."""
        now = tree.everybody()
        self._foreign &= now
        return now - self._foreign

    def _obey(self) -> bool:
        """Read what the worker says; False: end."""
        try:
            said = os.read(_WORKER, 64)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if b"t" in said:
            for process in tree.below(os.getpid()):
                # Not to bubblewrap: it would go down at once and take everyone with it.
                if not (self._orders.confined and process.pid == self._pid):
                    tree.send(process.pid, signal.SIGTERM)
                    tree.send(process.pid, signal.SIGCONT)
        return bool(said)

    def _tell_end(self, status: int | None, reason: str | None) -> None:
        self._ended = True
        code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
        if 128 < code <= 128 + 64:
            code = 128 - code  # shells and bubblewrap say a signal so; in each tier the same
        reaped = resource.getrusage(resource.RUSAGE_CHILDREN)
        self._cpu_s = max(self._cpu_s, reaped.ru_utime + reaped.ru_stime)
        spent = code == -signal.SIGKILL and self._cpu_s > 0.95 * self._orders.cpu_s  # what ignores SIGXCPU
        if reason is None and (spent or code == -signal.SIGXCPU):
            reason = "cpu"
        self.say(f"ended {int(code)} {reason or '-'} {self._cpu_s:.3f}")

    def say(self, line: str) -> None:
        """Never waits: a worker that is stopped must not stop its guard."""
        self._unsaid += line.encode() + b"\n"
        try:
            self._unsaid = self._unsaid[os.write(_WORKER, self._unsaid) :]
        except BlockingIOError:
            if line.startswith("sample "):
                self._unsaid = self._unsaid.removesuffix(line.encode() + b"\n")
        except OSError:
            self._unsaid = b""  # nobody listens any more


def _come_first() -> None:
    """Before all that competes with it for the processor, where root may say so: a fork bomb is a crowd. Not the
    command, which is given its own priority."""
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def _pidfd(pid: int) -> int | None:
    """Where there is none (before Linux 5.3, some sandboxes), its end is noticed at the next look."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def main() -> None:
    guard = Guard(read(sys.argv[1:]))
    try:
        guard.run()
    except BaseException as error:
        guard.say(f"broken {error!r}".replace("\n", " ")[:500])
        os._exit(1)
    os._exit(0)  # without the interpreter's own tidying up, which takes milliseconds
