"""A task that takes its worker with it each time is given up after the third; those beside it go on and end well."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from tests.chaos.checker import POISON, attempts, check
from tests.chaos.conftest import StartRun, spread
from tests.chaos.plans import PlannedTask, PlannedTurn, leaves
from tests.chaos.run import Run

LAST = PlannedTurn("That is all.", 0.01)


@contextlib.asynccontextmanager
async def replaced(run: Run) -> AsyncIterator[None]:
    """Whoever is lost is replaced at once."""
    size = len(list(run.fleet))

    async def replace() -> None:
        while True:
            run.fleet.note_losses()
            if len(list(run.fleet)) < size:
                await run.fleet.start()
            await asyncio.sleep(0.01)

    replacing = asyncio.create_task(replace())
    try:
        yield
    finally:
        replacing.cancel()
        await asyncio.gather(replacing, return_exceptions=True)


def patient(number: int, turns: int) -> PlannedTask:
    """A second and a half a turn, and a checkpoint after each."""
    agent = ("llm", "walker")[number % 2]
    name = f"p{number}"
    made = [PlannedTurn("I go on and on", 0.2, (f"sleep 0.5; {leaves(name, turn)}",)) for turn in range(1, turns + 1)]
    return PlannedTask(name, name, agent, (*made, LAST), 1)


async def beside(
    start_run: StartRun, workers: int, others: int, turns: int, hows: tuple[str, ...], **settings: float
) -> None:
    async with start_run(workers, **settings) as run, replaced(run):
        await run.submit(*(patient(number, turns) for number in range(others)))
        await run.until(lambda: len(run.watcher.holders) == others, 30, "they do not begin")
        leavers = [PlannedTask(f"leaver{n}", f"leaver{n}", "leaver", (LAST,), how=how) for n, how in enumerate(hows)]
        await run.submit(*leavers)
        history = await run.ended(180)
        run.fleet.note_losses()
        print(spread(history))
        for plan in leavers:
            told = history.of(run.planned.ids[plan.name])
            assert (told[-1].type, told[-1]["kind"], told[-1]["retryable"]) == ("task_failed", "poison", False)
            assert len(list(attempts(told))) == POISON
        ends = [history.of(run.planned.ids[f"p{number}"])[-1].type for number in range(others)]
        assert ends == ["task_complete"] * others
        check(history, in_time=workers > 1)


async def test_what_brings_its_worker_down_is_given_up_and_what_is_beside_it_is_not(start_run: StartRun) -> None:
    """One worker at a time: so all are with it whenever it is run. With two crashes behind them all but one wait."""
    await beside(start_run, 1, 2, 1, ("exit",), lease_ttl_s=1.0)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["exit", "killed"])
@pytest.mark.parametrize("workers", [1, 3])
async def test_nine_tasks_survive_the_one_that_kills(start_run: StartRun, workers: int, how: str) -> None:
    """They are with it whenever it is run; those that were with two crashes then run one at a time on each worker."""
    await beside(start_run, workers, 9, 4, (how,))
