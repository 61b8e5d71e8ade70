"""What other processes of the machine take while something is measured."""

import os
import resource
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic
from typing import TypeVar

from benchmarks.figures import cpu_s

T = TypeVar("T")

QUIET = 0.15
"""Cores that others may take. The kernel's own threads take about 0.05 under load."""
OTHERS = "others' cores"


def beside_others(pids: Sequence[int], work: Callable[[], T]) -> tuple[T, float]:
    """What `work` returns, and the cores that others took meanwhile. Ours are `pids`, which outlive it, and the
    children that this process waits for in it."""
    began, busy, ours = monotonic(), _busy_s(), sum(map(cpu_s, pids)) + _children_s()
    found = work()
    others = _busy_s() - busy - (sum(map(cpu_s, pids)) + _children_s() - ours)
    return found, max(0.0, others / (monotonic() - began))


def _busy_s() -> float:
    """CPU seconds of all cores since boot, those that the hypervisor took included, in ticks of 10 ms."""
    user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
