"""Rounds of all systems in turns: what is compared was measured in the same minutes."""

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

from benchmarks.gateway import client, measurements, plan
from benchmarks.gateway.client import Outcome
from benchmarks.gateway.programs import compile_load
from benchmarks.gateway.results import Run
from benchmarks.gateway.systems.system import Running, System
from benchmarks.gateway.workloads import Workload
from benchmarks.others import OTHERS, beside_others
from benchmarks.stack import NotReady, Stack

WARM_CLIENTS = 50
GONE_S = 10.0


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
            outcome, others = beside_others(
                [*running.pids, *running.store_pids],
                lambda: client.run(program, stack.folder, workload, running),
            )
            wrong = client.wrong(outcome) or _left_open(running)
    except (NotReady, ConnectionError, TimeoutError, subprocess.TimeoutExpired) as error:
        return Run(cell, number, {}, f"{type(error).__name__}: {error}"), {}
    if wrong:
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


def _left_open(running: Running) -> str:
    """What is wrong when all clients are gone; they may still be on their way out."""
    deadline = monotonic() + GONE_S
    while running.open_streams and (left := running.open_streams()):
        if monotonic() > deadline:
            return f"{left} streams are still open after their clients are gone"
        sleep(0.05)
    return ""
