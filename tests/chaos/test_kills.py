"""Workers are killed at random moments while tasks are in flight: nothing is lost, nothing that was acknowledged is
done twice, and what a killed worker held goes on in time."""

import asyncio
import random
from collections.abc import Iterator

import pytest

from tests.chaos.checker import POISON, check
from tests.chaos.conftest import StartRun, spread
from tests.chaos.fleet import Worker
from tests.chaos.plans import PlannedTask
from tests.chaos.run import Run
from tests.chaos.sessions import SEED, drawn, fill


async def kill_some(
    run: Run,
    sessions: Iterator[list[PlannedTask]],
    chance: random.Random,
    *,
    tasks: int,
    kills: int,
    apart: tuple[int, int],
) -> None:
    """Kill workers that hold something, so many events apart; each is replaced at once. Nobody is killed whose tasks
    have had all but one of the crashes that end them, nor while two others are not replaced yet."""
    size = len(run.fleet.up)
    for _ in range(kills):
        wanted = run.watcher.events + chance.randint(*apart)
        order = chance.random()
        while True:
            await fill(run, sessions, tasks)
            victims = [worker for worker in run.fleet.up if 0 <= most_crashes(run, worker) < POISON - 1]
            if run.watcher.events >= wanted and victims and len(run.fleet.up) >= size - 1:
                break
            await asyncio.sleep(0.005)
        # Rather one with nothing taken over yet: of tasks on their last chance a worker runs one at a time.
        fresh = [worker for worker in victims if most_crashes(run, worker) == 0] or victims
        await run.fleet.kill(fresh[int(order * len(fresh))])
        await run.fleet.start()


def most_crashes(run: Run, worker: Worker) -> int:
    """Of the tasks that it runs; -1: it runs none."""
    return max((run.watcher.crashes[task] for task in run.held_by(worker.name or "")), default=-1)


@pytest.mark.parametrize("seed", [SEED])
async def test_what_killed_workers_held_goes_on_elsewhere(start_run: StartRun, seed: int) -> None:
    """Eight tasks in flight on three workers, four kills."""
    chance, sessions = random.Random(seed), drawn(seed, (2, 3), hurry=10)
    async with start_run(3) as run:
        await kill_some(run, sessions, chance, tasks=8, kills=4, apart=(5, 40))
        history = await run.ended(30)
        print(spread(history))
        check(history)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [SEED])
async def test_forty_tasks_in_flight_survive_twenty_kills(start_run: StartRun, seed: int) -> None:
    """On eight workers."""
    chance, sessions = random.Random(seed), drawn(seed, (2, 5))
    async with start_run(8) as run:
        await kill_some(run, sessions, chance, tasks=40, kills=20, apart=(60, 240))
        history = await run.ended(120)
        print(spread(history))
        check(history)
