"""Attempts through a real store: their logs, and every way they end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.events import (
    Event,
    MessageAdded,
    Output,
    OutputComplete,
    OutputStart,
    TaskRequeued,
)
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_tasks.control import Control
from runcast_worker.attempt import attempt as attempt_module
from runcast_worker.engines import EngineTask
from tests.attempts import TENANT, claim, entries, session_keys
from tests.conftest import wait_until
from tests.history import check_log, check_tasks
from tests.worker.conftest import Client, StartWorker
from tests.worker.processes import alive, new_mark


def payload(entry: object) -> dict[str, object]:
    document: dict[str, object] = json.loads(entry.payload)  # type: ignore[attr-defined]
    return document


def control_of(redis: Redis) -> Control:
    return Control(redis, EventLog(redis), Keyspace(), TENANT)


async def test_a_task_runs_from_its_submit_to_its_end(client: Client, start_worker: StartWorker, redis: Redis) -> None:
    """Started with attempt, worker and workspace; ended with the answer, which is also the session's message."""
    async with start_worker() as deps:
        log = await client.ended(await client.submit(agent="script", count=3, bytes=4))
        assert [entry.type for entry in log] == [
            *("session_created", "message_added", "task_queued", "task_started", "output_start"),
            *("output", "output", "output", "output_complete", "message_added", "task_complete"),
        ]
        started = payload(log[3])
        assert (started["attempt"], started["worker"], started["workspace"]) == (1, deps.name, "new")
        assert payload(log[-1])["final_answer"] == "abcdabcdabcd"
        messages = [json.loads(raw) for raw in await redis.lrange(session_keys().messages, 0, -1)]  # type: ignore[misc]
        assert [(m["role"], m["content"]) for m in messages] == [("user", ""), ("assistant", "abcdabcdabcd")]
        again = await client.ended(await client.submit(agent="script", count=1))
        assert [payload(e)["workspace"] for e in again if e.type == "task_started"] == ["new", "kept"]

        async def forgotten() -> bool:
            return await redis.zcard("runcast:due") == 0

        await wait_until(forgotten)


async def test_an_agent_that_this_worker_does_not_know_fails_the_task(
    client: Client, start_worker: StartWorker
) -> None:
    """With the names that there are."""
    async with start_worker():
        log = await client.ended(await client.submit(agent="ghost"))
    failed = payload(log[-1])
    assert failed["kind"] == "agent"
    assert "demo" in str(failed["error"])


async def test_a_workspace_that_cannot_be_made_fails_the_task(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    """Here a file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    async with start_worker(workspaces=tmp_path / "file"):
        log = await client.ended(await client.submit("list files"))
    assert payload(log[-1])["kind"] == "workspace"


class Engines:
    """Engines with one fault each."""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
        yield OutputStart(part_id="1")
        yield Output(part_id="1", delta="so far", offset=0)
        match self.kind:
            case "raises":
                raise ZeroDivisionError("by zero")
            case "foreign":
                yield MessageAdded(role="user", content="I am the user")
            case "surrogate":
                yield OutputComplete(part_id="1", content="\ud800")


@pytest.mark.parametrize(
    ("kind", "said"), [("raises", "by zero"), ("foreign", "message_added"), ("surrogate", "cannot be written")]
)
async def test_an_engine_that_fails_ends_its_task_as_failed(
    client: Client, start_worker: StartWorker, kind: str, said: str
) -> None:
    """What it had open is closed first; the worker goes on with the next task."""
    async with start_worker({"demo": Engines(kind)}):
        log = await client.ended(await client.submit())
        assert [entry.type for entry in log][-2:] == ["output_complete", "task_failed"]
        assert payload(log[-2])["content"] == "so far"
        failed = payload(log[-1])
        assert (failed["kind"], failed["retryable"]) == ("engine", False)
        assert said in str(failed["error"])
        await client.ended(await client.submit(agent="script", session_id="s2", count=1))


# --- cancel -----------------------------------------------------------------------------------------------------------


async def test_a_queued_task_that_is_cancelled_never_starts(client: Client, start_worker: StartWorker) -> None:
    """The worker that answers its ring finds nothing to run."""
    task_id = await client.submit()
    await control_of(client.redis).cancel(task_id, "me")
    async with start_worker():
        log = await client.ended(task_id, await client.submit(agent="script", count=1))
    ours = [entry.type for entry in log if entry.task_id == task_id]
    assert ours == ["message_added", "task_queued", "task_cancelled"]


@pytest.mark.parametrize("rate", [0.1, 200])
async def test_a_running_task_is_cancelled_whether_it_writes_or_is_silent(
    client: Client, start_worker: StartWorker, rate: float
) -> None:
    """It says that it is being cancelled, closes what is open, and ends with who asked and why."""
    async with start_worker():
        task_id = await client.submit(agent="script", count=1000, rate=rate)
        await client.wrote("output")
        await control_of(client.redis).cancel(task_id, "me", "enough")
        log = await client.ended(task_id, timeout_s=3)
    types = [entry.type for entry in log]
    assert types.index("task_cancelling") < types.index("output_complete")
    assert types[-2:] == ["output_complete", "task_cancelled"]
    assert (payload(log[-1])["by"], payload(log[-1])["reason"]) == ("me", "enough")


async def test_cancelling_inside_a_tool_kills_its_processes(
    client: Client, start_worker: StartWorker, tmp_path: Path
) -> None:
    """The call is closed as cancelled, and nothing of its group lives on."""
    mark = new_mark()
    async with start_worker():
        task_id = await client.submit(f"run `sleep {mark} & sleep {mark}`", delay_ms=0)
        await wait_until(lambda: len(alive(mark)) >= 2)
        await control_of(client.redis).cancel(task_id, "me")
        log = await client.ended(task_id, timeout_s=10)
    called = next(payload(entry) for entry in log if entry.type == "tool_call_complete")
    assert called["error"] == {"code": "cancelled", "message": "the call was stopped before it ended"}
    await wait_until(lambda: not alive(mark), message="a process of the tool survived")


# --- order and exclusion ----------------------------------------------------------------------------------------------


async def test_two_tasks_of_one_session_run_one_after_the_other(client: Client, start_worker: StartWorker) -> None:
    """In the order of their submits; the first one's end rings for the second."""
    async with start_worker():
        first = await client.submit(agent="script", count=50, rate=200)
        second = await client.submit(agent="script", count=5)
        log = await client.ended(first, second)
    running = [entry.task_id for entry in log if entry.type not in ("message_added", "task_queued", "session_created")]
    assert running == sorted(running, key=[first, second].index)


async def test_two_workers_never_run_a_session_twice_at_once(client: Client, start_worker: StartWorker) -> None:
    """Whoever is rung first runs the head; every task ends once, and attempts do not interleave."""
    async with start_worker() as one, start_worker() as two:
        ids = [await client.submit(agent="script", session_id=f"s{i % 4}", count=20, rate=500) for i in range(24)]
        workers = set()
        for session in range(4):
            log = await client.ended(*[i for i in ids if i.startswith(f"s{session}.")])
            starts = [payload(entry) for entry in log if entry.type == "task_started"]
            assert [start["attempt"] for start in starts] == [1] * 6
            workers |= {start["worker"] for start in starts}
        assert workers <= {one.name, two.name}


async def test_an_attempt_that_lost_its_hold_writes_nothing_more(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Another holds the task; the first one's tool dies, and its log stays as it was."""
    mark = new_mark()
    async with start_worker(lease_ttl_s=0.6, reap_every_s=60):
        task_id = await client.submit(f"run `sleep {mark}`", delay_ms=0)
        await wait_until(lambda: bool(alive(mark)))
        log = EventLog(redis)
        envelope = Envelope("s1", task_id)
        await log.append_control(
            session_keys(), "take", [envelope.encode(TaskRequeued(reason="crash"))], task_id=task_id, legal=("running",)
        )
        other = await claim(redis)
        await other.append(log, other.started())
        await wait_until(lambda: not alive(mark), message="the tool lives")
        await other.append(log, other.output("mine"), other.complete())
        history = await client.ended(task_id)
    after = history[[e.type for e in history].index("task_requeued") + 1 :]
    assert [entry.type for entry in after] == ["task_started", "output", "task_complete"]


async def test_a_lease_that_cannot_be_renewed_ends_the_attempt_without_a_word(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Even where the engine is silent, so that no append could tell it."""
    async with start_worker(lease_ttl_s=0.5, reap_every_s=60) as deps:
        task_id = await client.submit(agent="script", count=2, rate=0.01)
        await client.wrote("output")
        await redis.set(session_keys().lease, "another|1:x", px=60_000)

        def lost() -> bool:
            labels = {"agent": "script", "outcome": "lost"}
            return deps.metrics.registry.get_sample_value("runcast_tasks_ended_total", labels) == 1.0

        await wait_until(lost)
    log = await entries(redis)
    check_log(log)
    check_tasks(log, ended=False)
    assert log[-1].type == "output"
    await redis.delete(session_keys().lease)
    async with start_worker(lease_ttl_s=0.5):  # its reaper finds the task; here it would play for a long time
        await client.wrote("task_started", count=2)
        await control_of(redis).cancel(task_id, "test")
        await client.ended(task_id)


async def test_what_a_worker_counts_agrees_with_the_log(client: Client, start_worker: StartWorker) -> None:
    """Events by type, tasks by outcome, tool calls by tool: and no id is a label."""
    async with start_worker() as deps:
        task_id = await client.submit("list files", delay_ms=0)
        log = await client.ended(task_id)
        sample = deps.metrics.registry.get_sample_value

        def over() -> bool:
            return sample("runcast_tasks_ended_total", {"agent": "demo", "outcome": "complete"}) == 1.0

        await wait_until(over)
        written = [entry for entry in log if entry.fence]
        for kind in {entry.type for entry in written}:
            count = len([entry for entry in written if entry.type == kind])
            assert sample("runcast_events_written_total", {"type": kind}) == count
        assert sample("runcast_tool_calls_total", {"tool": "list_files", "outcome": "ok"}) == 1.0
        for name in ("queue", "first_event"):
            assert sample(f"runcast_task_{name}_seconds_count", {"agent": "demo"}) == 1.0
        assert sample("runcast_task_seconds_count", {"agent": "demo", "outcome": "complete"}) == 1.0
        assert sample("runcast_log_bytes_total") == sum(len(entry.payload) for entry in written)
        assert sample("runcast_iterations_total", {"agent": "demo"}) == len(
            [entry for entry in written if entry.type == "iteration_start"]
        )
        for family in deps.metrics.registry.collect():
            assert not [s for s in family.samples if task_id in s.labels.values() or "s1" in s.labels.values()]


async def test_an_engine_that_swallows_its_cancellation_is_stopped_all_the_same(
    client: Client, start_worker: StartWorker
) -> None:
    """What it says meanwhile stands before the task's end; nothing follows."""

    class Stubborn:
        async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
            yield OutputStart(part_id="1")
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                yield Output(part_id="1", delta="I go on", offset=0)

    async with start_worker({"demo": Stubborn()}):
        task_id = await client.submit()
        await client.wrote("output_start")
        await control_of(client.redis).cancel(task_id, "me")
        log = await client.ended(task_id, timeout_s=10)
    assert log[-1].type == "task_cancelled"


async def test_an_engine_that_does_not_stop_cannot_undo_its_cancel(
    client: Client, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it says after the end is dropped, so the terminal event is not refused with it; the next task runs."""
    monkeypatch.setattr(attempt_module, "STOP_S", 0.1)
    going = asyncio.Event()
    going.set()

    class Unstoppable:
        async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
            yield OutputStart(part_id="1")
            while going.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(0)
                yield Output(part_id="1", delta="x", offset=0)

    async with start_worker({"demo": Unstoppable()}) as deps:
        task_id = await client.submit()
        following = await client.submit(agent="script", count=1)
        await client.wrote("output")
        await control_of(client.redis).cancel(task_id, "me")
        log = await client.ended(task_id, following)
        labels = {"agent": "demo", "outcome": "cancelled"}
        assert deps.metrics.registry.get_sample_value("runcast_tasks_ended_total", labels) == 1.0
        going.clear()
    assert [entry.type for entry in log if entry.task_id == task_id][-2:] == ["output_complete", "task_cancelled"]


async def test_an_attempt_looks_for_a_cancel_before_its_engine_begins(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """A request that an earlier attempt did not live to see: nothing of the engine runs again."""
    played = []

    class Notes:
        async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
            played.append(task.record.id)
            yield OutputStart(part_id="1")

    task_id = await client.submit()
    request = json.dumps({"by": "me", "reason": "enough"})
    await redis.hset(session_keys().control(task_id), "cancel", request)  # type: ignore[misc]
    async with start_worker({"demo": Notes()}):
        log = await client.ended(task_id)
    assert [entry.type for entry in log][-3:] == ["task_started", "task_cancelling", "task_cancelled"]
    assert payload(log[-1])["by"] == "me"
    assert played == []
