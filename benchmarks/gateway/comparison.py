"""The benchmark as a whole: runs, a file of them, the table, the bars."""

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.figures import Bar, Report
from benchmarks.gateway import bars, plots
from benchmarks.gateway.bars import LIMITS, OURS
from benchmarks.gateway.measurements import CPU
from benchmarks.gateway.results import Results, Run
from benchmarks.gateway.series import series
from benchmarks.gateway.systems.floor import Floor
from benchmarks.gateway.systems.naive import Naive
from benchmarks.gateway.systems.nchan import Nchan
from benchmarks.gateway.systems.ours import Ours, Unobserved
from benchmarks.gateway.systems.system import System
from benchmarks.gateway.workloads import NAMES, WORKLOADS, Workload
from benchmarks.others import OTHERS, QUIET

ROUNDS = 5
SYSTEMS: Mapping[str, System] = {system.name: system for system in (Ours(), Unobserved(), Nchan(), Floor(), Naive())}
RESULTS = Path(__file__).parents[1] / "results"
BESIDE = "nchan"


def run() -> Report:
    """All of it."""
    return compare(WORKLOADS, list(SYSTEMS.values()), ROUNDS)


def compare(
    workloads: Sequence[Workload], systems: Sequence[System], rounds: int, *, print_runs: bool = False
) -> Report:
    """A line of JSON for each run goes to a file in RESULTS. Raises NoCompiler, NoStore."""
    results = Results()
    RESULTS.mkdir(exist_ok=True)
    name = RESULTS / f"gateway-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    file = name.with_suffix(".jsonl")
    with tempfile.TemporaryDirectory(prefix="runcast-bench-") as folder, file.open("w") as lines:
        for run, outcome in series(workloads, systems, rounds, Path(folder)):
            results.runs.append(run)
            workload, system = run.cell
            document = {"workload": workload, "system": system, "round": run.round, "wrong": run.wrong}
            line = json.dumps({**document, "figures": run.figures, "outcome": outcome})
            print(line, file=lines, flush=True)
            if print_runs:
                print(line, flush=True)
            print(_progress(run, rounds), file=sys.stderr, flush=True)
    report = report_of(results, workloads, systems)
    report.notes.append(f"medians of {rounds}; every run is in {file}")
    report.notes.append(plots.draw(results, name))
    return report


def report_of(results: Results, workloads: Sequence[Workload], systems: Sequence[System]) -> Report:
    """The table, with ratios to nchan where that was measured beside, and the bars."""
    report = Report("gateway")
    for cell in results.cells():
        if figures := results.medians(cell):
            report.add(" ".join(cell), {**_beside(results, cell), **figures})
    ours = [run for run in results.wrongs() if run.cell[1] == OURS]
    shown = any(run.cell[1] == OURS for run in results.runs)
    if shown:
        report.bars.append(Bar("every client of ours was shown every event once, in order", not ours, correct=True))
    for limit in LIMITS:
        bar = bars.judged(limit, results)
        if bar:
            report.bars.append(bar)
        elif shown and limit.workload in {workload.name for workload in workloads}:
            report.notes.append(f"no bar of {limit.workload} for {limit.figure}: not all that it needs was measured")
    report.notes += [f"{workload.name}: {workload.text}" for workload in workloads]
    report.notes += _left_out(workloads, systems)
    report.notes += [f"{' '.join(run.cell)}, round {run.round + 1}: {run.wrong}" for run in results.wrongs()]
    report.notes += _disturbed(results)
    return report


def _beside(results: Results, cell: tuple[str, str]) -> dict[str, float]:
    if NAMES[cell[0]].mode != "live":
        return {}
    ratio = results.ratio(cell, (cell[0], BESIDE), CPU)
    return {} if ratio is None else {f"CPU, x {BESIDE}": ratio}


def _left_out(workloads: Sequence[Workload], systems: Sequence[System]) -> list[str]:
    """Each reason once, with the workloads it is for."""
    found: dict[tuple[str, str], list[str]] = {}
    for system in systems:
        for workload in workloads:
            if reason := system.cannot(workload):
                found.setdefault((system.name, reason), []).append(workload.name)
    return [f"{system} is left out of {', '.join(names)}: {reason}" for (system, reason), names in found.items()]


def _disturbed(results: Results) -> list[str]:
    loud = [run for run in results.runs if run.figures.get(OTHERS, 0) > QUIET]
    return [f"others used more than {QUIET} cores in {len(loud)} of {len(results.runs)} runs"] if loud else []


def _progress(run: Run, rounds: int) -> str:
    said = run.wrong or ", ".join(f"{name} {value:,.4g}" for name, value in run.figures.items())
    return f"{' '.join(run.cell)} {run.round + 1}/{rounds}: {said}"
