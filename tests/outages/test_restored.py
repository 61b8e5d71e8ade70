"""The store is restored from an older copy of its files: what was written since is gone, and everybody is told."""

import asyncio
import shutil
from pathlib import Path

import pytest

from runcast_local.store import Store, find_program
from tests.api.running import problem
from tests.conftest import wait_until
from tests.outages.running import reasons, running


async def backed_up(store: Store, to: Path) -> None:
    """The store is stopped for it."""
    await asyncio.to_thread(store.stop)
    shutil.copytree(store.data, to)
    await asyncio.to_thread(store.start)


async def restored(store: Store, backup: Path) -> None:
    await asyncio.to_thread(store.stop)
    shutil.rmtree(store.data)
    shutil.copytree(backup, store.data)
    await asyncio.to_thread(store.start)


@pytest.mark.parametrize(
    "seconds", [1, pytest.param(14, marks=[pytest.mark.full, pytest.mark.timeout(180)])], ids=["whole", "lost"]
)
async def test_what_running_attempts_wrote_since_comes_again_or_is_told_as_lost(
    own_store: Store, tmp_path: Path, seconds: int
) -> None:
    """An attempt keeps for ten seconds what it wrote. Readers are told of the break, and then see what the log has."""
    async with running(own_store.url, tmp_path) as whole:
        for number in range(3):
            await whole.outputs(f"s{number}", 100 * (seconds + 3), 100)
            await whole.wrote(f"s{number}", "output", 20)
        await backed_up(own_store, tmp_path / "backup")
        late = await whole.outputs("late", 100 * (seconds + 2), 100)
        for session_id in whole.readers:
            await whole.wrote(session_id, "output", 20 + 100 * seconds)
        await restored(own_store, tmp_path / "backup")
        logs = await whole.all_ended(cut_off=[late])
        record = await whole.record(late)
        assert record is not None
        assert record.attempt == 1, "it runs, so the store is told of it again"
        for log in logs.values():
            types = [entry.type for entry in log]
            assert types.count("task_started") + types.count("log_lost") >= 1
            assert reasons(log) == []
            assert types.count("log_lost") == (1 if seconds > 10 else 0)
            assert seconds > 10 or types.count("output") == 100 * (seconds + 3 - (log is logs["late"]))
        assert set(whole.gaps) <= {"rewound", "gone"}
        assert len(whole.gaps) == len(whole.readers), "one gap each"


@pytest.mark.parametrize(
    "stores", ["one", pytest.param("the events alone", marks=[pytest.mark.full, pytest.mark.timeout(120)])]
)
async def test_what_nobody_runs_any_more_is_as_the_backup_has_it(own_store: Store, tmp_path: Path, stores: str) -> None:
    """Tasks that ended stay ended, those that waited run again, those that came later are unknown, and no hint of them
    is left."""
    with Store(find_program(), tmp_path / "queue") as queue_store:
        queue_url = own_store.url if stores == "one" else queue_store.url
        async with running(own_store.url, tmp_path, queue_url, workers=0) as whole:
            ended = await whole.outputs("s0", 3, 0)
            async with whole.worker():
                await whole.wrote("s0", "task_complete")
            waits = await whole.outputs("s1", 3, 0)
            await backed_up(own_store, tmp_path / "backup")
            lost = [await whole.outputs("s0", 3, 0), await whole.outputs("new", 3, 0)]
            async with whole.worker():
                for session_id, count in (("s0", 2), ("s1", 1), ("new", 1)):
                    await whole.wrote(session_id, "task_complete", count)
            lost.append(await whole.outputs("new", 3, 0))
            await restored(own_store, tmp_path / "backup")
            async with whole.worker():
                for task_id in lost:
                    problem(await whole.api.client.get(f"/api/tasks/{task_id}"), 404, "not_found")
                again = await whole.outputs("s0", 3, 0)
                logs = await whole.all_ended(lost=lost)
                listed = [task["id"] for task in (await whole.api.client.get("/api/tasks")).json()["data"]]
                assert sorted(listed) == sorted([ended, waits, again])

                async def nothing_waits() -> bool:
                    return not await whole.api.state["queue_store"].zcard("runcast:due")

                await wait_until(nothing_waits, 60)
            assert logs["new"] == []
            assert len(whole.gaps) == 3
            assert set(whole.gaps) == {"rewound", "gone"}


@pytest.mark.full
async def test_an_attempt_whose_end_was_lost_is_nobodys_crash(own_store: Store, tmp_path: Path) -> None:
    """In the backup it runs, and since then it has ended: nobody holds the task any more, although its worker lives."""
    async with running(own_store.url, tmp_path, lease_ttl_s=1) as whole:
        task_id = await whole.outputs("s0", 150, 100)
        await whole.wrote("s0", "output", 20)
        await backed_up(own_store, tmp_path / "backup")
        await whole.wrote("s0", "task_complete")
        await restored(own_store, tmp_path / "backup")
        logs = await whole.all_ended()
        assert reasons(logs["s0"]) == ["lease_lost"]
        record = await whole.record(task_id)
        assert record is not None
        assert record.attempt == 2
