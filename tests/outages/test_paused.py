"""The store stands still for longer than every lease: no command fails, all of them only take too long."""

import asyncio
import signal
from pathlib import Path

import pytest

from runcast_local.store import Store
from tests.outages.running import reasons, running


@pytest.mark.parametrize(
    ("stands_s", "lease_ttl_s", "tasks"),
    [(6, 3, 4), pytest.param(60, 15, 10, marks=[pytest.mark.full, pytest.mark.timeout(240)])],
)
async def test_a_store_that_stands_still_is_nobodys_crash(
    own_store: Store, tmp_path: Path, stands_s: float, lease_ttl_s: float, tasks: int
) -> None:
    """Every attempt stops itself, gives its task up when the store goes on, and another one ends it; nobody needs to do
    anything, and what waited in the queue runs too."""
    assert own_store.process is not None
    async with running(own_store.url, tmp_path, lease_ttl_s=lease_ttl_s, max_jobs=tasks) as whole:
        for number in range(tasks):
            # What was handed over before is in the store's buffers: the engine must be at work when its lease lapses.
            await whole.outputs(f"s{number}", int(110 * lease_ttl_s), 100)
            await whole.outputs(f"s{number}", 10, 0)
            await whole.wrote(f"s{number}", "output", 5)
        own_store.process.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(stands_s)
        finally:
            own_store.process.send_signal(signal.SIGCONT)
        logs = await whole.all_ended(timeout_s=90)
        for log in logs.values():
            assert set(reasons(log)) <= {"lease_lost"}
            assert [entry.type for entry in log].count("task_complete") == 2
        assert any(reasons(log) for log in logs.values()), "no lease lapsed: the pause was too short to show anything"
        assert whole.gaps == []
