"""The store is restarted and killed in the midst of running tasks; what it was told, it has."""

import asyncio
import random
from pathlib import Path

import pytest

from runcast_local.store import Store
from tests.outages.running import running


@pytest.mark.parametrize(
    ("tasks", "restarts", "seed", "lease_ttl_s"),
    # Thirty come so close after each other that the store of a loaded machine is there for moments only.
    [(4, 3, 1, 10), pytest.param(10, 30, 2, 10, marks=[pytest.mark.full, pytest.mark.timeout(240)])],
)
async def test_a_store_that_is_restarted_again_and_again_loses_nothing(
    own_store: Store, tmp_path: Path, tasks: int, restarts: int, seed: int, lease_ttl_s: int
) -> None:
    """Shorter than the lease each time: every task runs once, as if nothing had been, and its readers see all of it."""
    chance = random.Random(seed)
    async with running(own_store.url, tmp_path, lease_ttl_s=lease_ttl_s) as whole:
        outputs = 100 + 60 * restarts
        for number in range(tasks):
            await whole.outputs(f"s{number}", outputs, 100)
        for restart in range(restarts):
            await whole.wrote(f"s{restart % tasks}", "output", 50 * (restart + 1))
            await asyncio.sleep(chance.uniform(0, 0.1))  # any moment will do
            await asyncio.to_thread(own_store.kill if chance.random() < 0.5 else own_store.stop)
            await asyncio.sleep(chance.uniform(0, 0.5))
            await asyncio.to_thread(own_store.start)
        logs = await whole.all_ended()
        for log in logs.values():
            types = [entry.type for entry in log]
            assert (types.count("task_started"), types.count("output")) == (1, outputs)
        assert whole.gaps == []
