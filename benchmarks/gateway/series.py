"""Rounds of all systems in turns: what is compared was measured in the same minutes."""

import resource
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic

from benchmarks.figures import cpu_s
from benchmarks.gateway import client, measurements, plan
from benchmarks.gateway.client import Outcome
from benchmarks.gateway.programs import compile_load
from benchmarks.gateway.results import Run
from benchmarks.gateway.systems.system import Running, System
from benchmarks.gateway.workloads import Workload
from benchmarks.rounds import OTHERS, busy_s
from benchmarks.stack import NotReady, Stack

WARM_CLIENTS = 50


def series(
    workloads: Sequence[Workload], systems: Sequence[System], rounds: int, folder: Path
) -> Iterator[tuple[Run, Outcome]]:
    """Every workload with each system that can do it, then all of that again, `rounds` times. Each run starts its
    system anew; the order of the systems turns from round to round. `folder`: for compiled programs.

    Raises NoCompiler, NoStore.
    """
    for number in range(rounds):
        for workload in workloads:
            asked = [system for system in systems if takes_part(system, workload)]
            first = number % max(1, len(asked))
            for system in asked[first:] + asked[:first]:
                yield _run(workload, system, number, folder)


def takes_part(system: System, workload: Workload) -> bool:
    return not system.cannot(workload) and (not workload.systems or system.name in workload.systems)


def _run(workload: Workload, system: System, number: int, folder: Path) -> tuple[Run, Outcome]:
    cell = (workload.name, system.name)
    program = compile_load(folder)
    try:
        with Stack() as stack:
            running = system.start(stack, workload, folder)
            _prepare(program, stack.folder, workload, running)
            outcome, others = _beside_others(running, lambda: client.run(program, stack.folder, workload, running))
    except (NotReady, ConnectionError, TimeoutError, subprocess.TimeoutExpired) as error:
        return Run(cell, number, {}, f"{type(error).__name__}: {error}"), {}
    if wrong := client.wrong(outcome):
        return Run(cell, number, {}, wrong), outcome
    return Run(cell, number, {**measurements.figures(workload, outcome), OTHERS: others}), outcome


def _prepare(program: Path, folder: Path, workload: Workload, running: Running) -> None:
    """A log to come back to, and what a first client costs that others do not."""
    if workload.mode == "replay":
        plan.fill(running.plans[0], workload.missed, running.publish_port, running.acknowledged, running.first_sequence)
        client.run(program, folder, replace(workload, clients=1), running)
    if workload.mode == "idle":
        few = min(WARM_CLIENTS, workload.clients)
        client.run(program, folder, replace(workload, clients=few, sessions=few, leave=True), running)


def _beside_others(running: Running, work: Callable[[], Outcome]) -> tuple[Outcome, float]:
    """The outcome, and the cores that others took."""
    pids = [*running.pids, *running.store_pids]
    began, busy, ours = monotonic(), busy_s(), sum(map(cpu_s, pids)) + _children_s()
    outcome = work()
    others = busy_s() - busy - (sum(map(cpu_s, pids)) + _children_s() - ours)
    return outcome, max(0.0, others / (monotonic() - began))


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
