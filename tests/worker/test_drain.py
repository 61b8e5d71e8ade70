"""SIGTERM: what runs ends by itself in time, or another worker takes it over."""

import asyncio
import json
import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import httpx2
import pytest

from runcast_events.events import Event, OutputStart
from runcast_worker.deps import open_deps
from runcast_worker.engines import EngineTask
from runcast_worker.engines.script import ScriptEngine
from runcast_worker.settings import WorkerSettings
from runcast_worker.worker import work
from tests.attempts import session_keys
from tests.conftest import wait_until
from tests.loglines import bad, parsed
from tests.worker.conftest import Client, StartWorker
from tests.workers import worker_process


async def test_what_ends_in_time_is_not_requeued(client: Client, start_worker: StartWorker) -> None:
    """The drain waits for it; nothing new is begun meanwhile."""
    async with start_worker(drain_s=10):
        running = await client.submit(agent="script", count=50, rate=100)
        await client.wrote("output")
    assert await client.state(running) == "complete"
    assert await client.redis.zcard("runcast:due") == 0


async def test_what_does_not_end_in_time_is_finished_by_another_worker(
    client: Client, start_worker: StartWorker
) -> None:
    """Its parts are closed, it is queued again, and rung for: no crash is counted by anybody."""
    async with start_worker(drain_s=0) as first:
        task_id = await client.submit(agent="script", count=100, rate=100)
        await client.wrote("output")
    async with start_worker() as second:
        log = await client.ended(task_id)
    types = [entry.type for entry in log]
    requeued = types.index("task_requeued")
    assert json.loads(log[requeued].payload)["reason"] == "drain"
    assert types[requeued - 1] == "output_complete"
    starts = [json.loads(entry.payload)["worker"] for entry in log if entry.type == "task_started"]
    assert starts == [first.name, second.name]


@pytest.mark.parametrize("drain_s", [0, 10])
async def test_a_drain_that_begins_in_the_midst_of_many_starts_leaves_no_task_held(
    client: Client, start_worker: StartWorker, drain_s: float
) -> None:
    """What has started ends or is given back; what has not stays queued, to be claimed by another worker at once."""
    begun = asyncio.Event()

    class Short:
        async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
            begun.set()
            yield OutputStart(part_id="1")
            await asyncio.sleep(0.3)

    ids = [await client.submit(session_id=f"s{number}") for number in range(40)]
    async with start_worker({"demo": Short()}, max_jobs=50, drain_s=drain_s) as deps:
        await begun.wait()
    assert deps.requeue.is_set() == (drain_s == 0)
    records = [await client.record(task_id) for task_id in ids]
    assert {record.state for record in records} <= {"queued", "complete"}
    assert min(record.attempt for record in records) == 0, "all had started: the drain came too late to show anything"
    for task_id in ids:
        assert not await client.redis.exists(session_keys(task_id.partition(".")[0]).lease)
    assert {record.crashes for record in records} == {0}
    async with start_worker({"demo": Short()}, max_jobs=50):
        for task_id in ids:
            await client.ended(task_id)


async def test_a_worker_that_is_cancelled_gives_back_what_runs(
    client: Client, redis_url: str, agents_file: Path, tmp_path: Path
) -> None:
    """As when one of its parts fails: the task is queued for another at once, and nothing counts as its crash."""
    settings = WorkerSettings(redis_url=redis_url, agents_file=agents_file, workspaces=tmp_path / "workspaces")
    async with open_deps(settings, {"script": ScriptEngine()}) as deps:
        working = asyncio.create_task(work(deps, asyncio.Event()))
        task_id = await client.submit(agent="script", count=1000, rate=100)
        await client.wrote("output")
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
    record = await client.record(task_id)
    assert (record.state, record.crashes) == ("queued", 0)
    assert not await client.redis.exists(session_keys().lease)
    await client.redis.flushdb()


async def test_a_worker_process_serves_its_admin_endpoint_and_drains_on_sigterm(
    client: Client, redis_url: str, agents_file: Path, tmp_path: Path
) -> None:
    """The real command: it logs its port, runs a task, gives back what runs at SIGTERM, and ends with 0."""
    settings = {
        "redis_url": redis_url,
        "agents_file": agents_file,
        "workspaces": tmp_path / "workspaces",
        "drain_s": 0.1,
    }
    async with worker_process(**settings) as (process, lines):
        await wait_until(lambda: any("admin_port" in each for each in parsed(lines)), message=f"not up: {lines}")
        port = next(each["admin_port"] for each in parsed(lines) if "admin_port" in each)
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as admin:
            assert (await admin.get("/livez")).json() == {"status": "ok"}
            assert (await admin.get("/readyz")).status_code == 200
            await client.ended(await client.submit("list files", delay_ms=0))
            assert 'runcast_tasks_started_total{agent="demo"} 1.0' in (await admin.get("/metrics")).text
        task_id = await client.submit(agent="script", session_id="s2", count=10, rate=0.1)
        await client.wrote("output", "s2")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
        assert await client.state(task_id) == "queued"
        assert not bad(lines)


async def test_a_wrong_setting_is_said_in_a_sentence(tmp_path: Path) -> None:
    """No traceback, and not 0."""
    async with worker_process(agents_file=tmp_path / "missing.toml") as (process, lines):
        assert await asyncio.wait_for(process.wait(), 10) == 1
    assert "missing.toml: cannot be read" in lines[-1]
    assert not [line for line in lines if "Traceback" in line]
