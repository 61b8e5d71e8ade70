"""Sessions whose tasks are drawn by lot, as many as are wanted."""

import os
import random
from collections.abc import Iterator

from tests.chaos.plans import PlannedTask, draw
from tests.chaos.run import Run

SEED = int(os.environ.get("RUNCAST_SEED", "1"))
"""One seed draws the same tasks and the same moments."""


def drawn(seed: int, turns: tuple[int, int], hurry: float = 1.0) -> Iterator[list[PlannedTask]]:
    """Sessions without end: of one task, or of several that wait for each other."""
    chance, number = random.Random(f"{seed} sessions"), 0
    while True:
        count = chance.choice([1, 1, 1, 2, 3])
        session_id = f"s{number}"
        yield [draw(seed, number + index, session_id, turns=turns, hurry=hurry) for index in range(count)]
        number += count


async def fill(run: Run, sessions: Iterator[list[PlannedTask]], count: int) -> None:
    """Have so many in flight."""
    while run.in_flight < count:
        await run.submit(*next(sessions))
