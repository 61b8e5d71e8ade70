"""Rounds on a machine that others use too: those in which it was theirs are measured again, and the quietest count."""

import os
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from time import monotonic

from benchmarks.figures import Figures, Report, cpu_s, medians

QUIET = 0.15
"""Cores that others may take in a round. The kernel's own threads take about 0.05 under load."""
TRIES = 2
"""Times the wanted rounds that are measured at most."""
OTHERS = "others' cores"


def busy_s() -> float:
    """CPU seconds of all cores since boot, those that the hypervisor took included, in ticks of 10 ms."""
    user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


async def quiet_rounds(
    report: Report, case: str, count: int, pids: Sequence[int], measure: Callable[[], Awaitable[Figures]]
) -> None:
    """Add a case with the medians of `count` rounds. `pids`: whose CPU is not that of others."""
    rounds: list[dict[str, float]] = []
    while len(rounds) < TRIES * count and sum(figures[OTHERS] <= QUIET for figures in rounds) < count:
        began, busy, ours = monotonic(), busy_s(), sum(map(cpu_s, pids))
        figures = await measure()
        others = busy_s() - busy - (sum(map(cpu_s, pids)) - ours)
        rounds.append({**figures, OTHERS: max(0.0, others / (monotonic() - began))})
    kept = sorted(rounds, key=lambda figures: figures[OTHERS])[:count]
    report.add(case, medians(kept))
    if len(rounds) > count:
        report.notes.append(f"{case}: the {count} quietest of {len(rounds)} rounds")
    if any(figures[OTHERS] > QUIET for figures in kept):
        report.notes.append(f"{case}: disturbed, others used more than {QUIET} cores in some of them")
