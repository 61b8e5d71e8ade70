"""Rolling deploys: workers are told to end (SIGTERM) while they run tasks, and are replaced. Nothing counts as a crash,
nothing is done twice, and what they let go of goes on at once."""

import asyncio
import random

import pytest

from tests.chaos.checker import attempts, check
from tests.chaos.conftest import StartRun
from tests.chaos.sessions import SEED, drawn, fill

RELEASE_S = 3.0
"""From when a task is let go of until it runs elsewhere."""


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [SEED])
async def test_eight_deploys_in_a_row_cost_nothing(start_run: StartRun, seed: int) -> None:
    """Ten tasks in flight on two workers, of which now the one is deployed, now the other."""
    chance, sessions = random.Random(seed), drawn(seed, (3, 6), hurry=3)
    async with start_run(2) as run:
        for _ in range(8):
            wanted = run.watcher.events + chance.randint(20, 80)
            while run.watcher.events < wanted:
                await fill(run, sessions, 10)
                await asyncio.sleep(0.005)
            old = chance.choice(run.fleet.up)
            await run.fleet.start_up()
            old.process.terminate()
            assert await asyncio.wait_for(old.process.wait(), 40) == 0
        history = await run.ended(180)
        check(history)
        made = [attempt for task in history.accepted for attempt in attempts(history.of(task))]
        assert {attempt.end for attempt in made} == {"drain", "complete"}
        gaps = sorted((each.next_ms - each.ended_ms) / 1000 for each in made if each.end == "drain")
        print(f"{len(gaps)} hand-overs: p50 {gaps[len(gaps) // 2]:.3f} s, max {gaps[-1]:.3f} s")
        assert gaps[-1] <= RELEASE_S
        for task in history.accepted:
            codes = [event.payload.get("error") for event in history.of(task) if event.type == "tool_call_complete"]
            assert not any(codes), f"{task}: a deploy interrupted a call"
