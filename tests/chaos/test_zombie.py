"""A worker stands still for longer than its lease, and goes on when others have taken its tasks: it writes nothing, its
tools die, nothing of it has an effect any more; and it stays a worker like any other."""

import asyncio
import random
from time import monotonic

import psutil
import pytest

from runcast_local.model import Stub
from tests.chaos.checker import check
from tests.chaos.conftest import StartRun, spread
from tests.chaos.fleet import Worker
from tests.chaos.plans import AGENTS, SERVED, PlannedTask, PlannedTurn, leaves
from tests.chaos.run import Run
from tests.chaos.sessions import SEED
from tests.conftest import wait_until

TOOLS_S = 5.0
"""After it went on, the tools of a zombie live no longer."""
BEATS = ("inside", "escaped")
"""Files that a command makes longer while it runs, and a child of it that has left its session."""
BEAT = "while :; do echo x >> {}; sleep 0.1; done"
BEATING = f"setsid sh -c '{BEAT.format('escaped')}' & {BEAT.format('inside')}"
LAST = PlannedTurn("That is all.", 0.01)


def midst(number: int) -> list[PlannedTask]:
    """A task in a model's answer, with a call at its end; one in a command; one in a call of an MCP server."""
    answer = PlannedTurn("and so on", 0.01, (leaves(f"stream{number}", 1),), stalls=True)
    return [
        PlannedTask(f"stream{number}", f"a{number}", "llm", (answer, LAST)),
        PlannedTask(f"beat{number}", f"b{number}", "llm", (PlannedTurn("I begin.", 0.01, (BEATING,)), LAST)),
        PlannedTask(f"serve{number}", f"c{number}", "served", (PlannedTurn("", 0.01, (), ("own_call",)), LAST)),
    ]


async def in_the_midst(run: Run, number: int) -> list[str]:
    """Submit the three; returns when all are where they are to be interrupted."""
    await run.submit(*midst(number))
    beats = [run.workspaces / "default" / f"b{number}" / name for name in BEATS]

    def there() -> bool:
        told = [{item.payload.split(b'"', 4)[3] for item in run.watcher.seen[f"{each}{number}"]} for each in "ac"]
        return b"output" in told[0] and b"tool_call_start" in told[1] and all(path.exists() for path in beats)

    await run.until(there, 30, "the tasks do not get there")
    return run.accepted[-3:]


async def stand_still(run: Run, zombie: Worker, chance: random.Random) -> float:
    """Until all that it held is held by others, and a little longer; then it goes on. Returns for how many seconds its
    tools live then."""
    assert zombie.name is not None
    held = run.held_by(zombie.name)
    tools = psutil.Process(zombie.process.pid).children(recursive=True)
    run.fleet.stop(zombie)
    await run.until(lambda: not run.held_by(zombie.name or ""), 20, "its tasks are not taken from it")
    await run.until(lambda: all(t in run.watcher.holders or t in run.watcher.ended for t in held), 20, "not begun")
    goes_on = monotonic() + chance.uniform(0, 2)
    await wait_until(lambda: monotonic() > goes_on)
    assert any(lives(tool) for tool in tools), "they ended before there was anything to show"
    run.fleet.go_on(zombie)
    went_on = monotonic()
    await wait_until(lambda: not any(lives(tool) for tool in tools), TOOLS_S, "tools of a zombie live on")
    return monotonic() - went_on


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def beats_no_more(run: Run, number: int) -> None:
    """Nobody makes the command again: its outcome is not known."""
    paths = [run.workspaces / "default" / f"b{number}" / name for name in BEATS]
    before = [path.stat().st_size for path in paths]
    await asyncio.sleep(0.5)  # five beats, of which none may come
    assert [path.stat().st_size for path in paths] == before


async def rounds(start_run: StartRun, stub: Stub, seed: int, count: int) -> None:
    """In each the same worker holds one task of each kind, and a new one takes them; then that one is killed. The
    zombie also hangs up on the model that answers it."""
    chance, lived = random.Random(seed), []
    async with start_run(1, AGENTS + SERVED) as run:
        (zombie,) = run.fleet.up
        for number in range(count):
            tasks = await in_the_midst(run, number)
            (other,) = await run.fleet.start_up()
            assert set(run.held_by(zombie.name or "")) == set(tasks)
            lived.append(await stand_still(run, zombie, chance))
            await beats_no_more(run, number)
            await run.ended(30)
            await wait_until(
                lambda: all(asked.outcome for asked in stub.asked), TOOLS_S, "a model is still listened to"
            )
            assert [asked.outcome for asked in stub.asked].count("left") == number + 1
            await run.fleet.kill(other)
        await run.submit(PlannedTask("after", "after", "llm", (LAST,)))
        history = await run.ended(30)
        print(f"{spread(history)}; tools of the zombie lived for {max(lived):.2f} s at most")
        check(history)


@pytest.mark.parametrize("seed", [SEED])
async def test_a_worker_that_stood_still_writes_nothing_and_its_tools_die(
    start_run: StartRun, stub: Stub, seed: int
) -> None:
    """When the other worker is gone, it runs what comes."""
    await rounds(start_run, stub, seed, 1)


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [SEED])
async def test_ten_times_the_same_worker_stands_still(start_run: StartRun, stub: Stub, seed: int) -> None:
    await rounds(start_run, stub, seed, 10)
