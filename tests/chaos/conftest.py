"""A run on a store of the test's own process, with the model that plays the planned tasks."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runcast_local.model import Stub
from tests.chaos.checker import recoveries
from tests.chaos.fleet import Fleet
from tests.chaos.plans import AGENTS, Planned
from tests.chaos.recording import History
from tests.chaos.run import LEASE_S, Run
from tests.chaos.watcher import watching
from tests.worker.conftest import client_of

StartRun = Callable[..., AbstractAsyncContextManager[Run]]


@pytest.fixture
def start_run(redis: Redis, redis_url: str, stub: Stub, base_url: str, tmp_path: Path) -> StartRun:
    """`async with start_run(3) as run:` with so many workers that are up; the recording of a run that fails is left in
    the test's folder. Settings as keywords."""

    @asynccontextmanager
    async def start(workers: int, agents: str = AGENTS, **settings: object) -> AsyncIterator[Run]:
        planned = Planned()
        stub.scripts["planned"] = planned.script
        (tmp_path / "agents.toml").write_text(agents)
        chosen = {
            "redis_url": redis_url,
            "agents_file": tmp_path / "agents.toml",
            "workspaces": tmp_path / "workspaces",
            "lease_ttl_s": LEASE_S,
            "reap_every_s": LEASE_S / 15,  # in proportion to the lease, as by default
            "llm_base_url": base_url,
            **settings,
        }
        async with Fleet(**chosen) as fleet, watching(redis, redis_url) as watcher:
            run = Run(
                client_of(redis), fleet, watcher, planned, tmp_path / "workspaces", float(str(chosen["lease_ttl_s"]))
            )
            await fleet.start_up(workers)
            try:
                yield run
            except BaseException:
                (await run.history()).dump(tmp_path / "history.txt")
                (tmp_path / "workers.txt").write_text("\n".join(fleet.lines))
                print(f"the recording and what the workers logged: {tmp_path}")
                raise

    return start


def spread(history: History) -> str:
    """Of how long recoveries took, in seconds; without those of tasks with one attempt left, which wait for it."""
    found = recoveries(history)
    seconds = sorted(recovery.seconds for recovery in found if not recovery.last_chance)
    kept = f"{len(history.lost)} losses, {len(history.accepted)} tasks"
    if not seconds:
        return kept
    p50, p99 = (seconds[min(len(seconds) - 1, int(len(seconds) * part))] for part in (0.5, 0.99))
    rest = f"{len(found) - len(seconds)} more on their last chance"
    return f"{kept}, {len(seconds)} recoveries: p50 {p50:.2f} s, p99 {p99:.2f} s, max {seconds[-1]:.2f} s; {rest}"
