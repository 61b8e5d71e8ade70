"""A store at its memory limit (noeviction): workers live, tasks wait, clients are told; after relief all goes on."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runcast_events.redis import connect
from runcast_local.store import Store, find_program
from tests.api.running import problem
from tests.outages.running import Whole, running

LEASE_S = 1.5


@asynccontextmanager
async def full(store: Store) -> AsyncIterator[None]:
    """Nothing more fits, until the block ends."""
    client = connect(store.url, "test")
    try:
        await client.config_set("maxmemory", 1)
        yield
        await client.config_set("maxmemory", 0)
    finally:
        await client.aclose()


async def refused(whole: Whole) -> None:
    problem(await whole.api.client.post("/api/tasks", json={"task": "hello"}), 503, "store_unavailable")


@pytest.mark.parametrize(
    "fills", ["the only one", *(pytest.param(one, marks=pytest.mark.full) for one in ("events", "queue"))]
)
async def test_a_full_store_holds_up_and_breaks_nothing(own_store: Store, tmp_path: Path, fills: str) -> None:
    """One store for all, or one of two. Renewals need no memory: no lease lapses, and no attempt is made twice."""
    with Store(find_program(), tmp_path / "queue") as queue_store:
        queue = own_store if fills == "the only one" else queue_store
        async with running(own_store.url, tmp_path, queue.url, lease_ttl_s=LEASE_S, max_jobs=2) as whole:
            for number in range(4):
                await whole.outputs(f"s{number}", 100, 100)
                await whole.wrote(f"s{number}", "output", 3)
            waits = await whole.outputs("s0", 5, 0)
            async with full(queue if fills == "queue" else own_store):
                for _ in range(3):
                    await refused(whole)
                if fills == "queue":  # whoever runs needs it for nothing
                    for number in range(4):
                        await whole.wrote(f"s{number}", "task_complete")
                await asyncio.sleep(1.5 * LEASE_S)
                record = await whole.record(waits)
                assert record is not None
                assert (record.state, record.attempt) == ("queued", 0)
                await refused(whole)
            await whole.outputs("later", 5, 0)
            logs = await whole.all_ended()
            for log in logs.values():
                types = [entry.type for entry in log]
                assert types.count("task_started") == types.count("task_queued"), "an attempt was made twice"
            assert whole.gaps == []
