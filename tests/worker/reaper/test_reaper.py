"""The reaper: nothing that was accepted is forgotten, and what kills workers is given up."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runcast_events.entry import Entry
from runcast_events.events import OutputStart, TaskRequeued, ToolCallComplete, ToolCallStart
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog, Write
from runcast_tasks.control import Control
from runcast_worker.attempt.hint import LATER_S
from runcast_worker.reaper.reaper import Reaper
from tests.attempts import TENANT, claim, session_keys, submit
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker
from tests.workers import worker_process

DUE = "runcast:due"


async def hint(redis: Redis, task_id: str, in_s: float = 0) -> None:
    await redis.zadd(DUE, {f"{TENANT}/{task_id}": int((time.time() + in_s) * 1000)})


async def taken(client: Client, start_worker: StartWorker, *task_ids: str) -> list[Entry]:
    """The log when they have ended: a reaper looks after the first one when the lease of its attempt has lapsed."""
    await hint(client.redis, task_ids[0], in_s=0.6)
    async with start_worker(lease_ttl_s=0.6):
        return await client.ended(*task_ids)


async def test_a_task_that_nobody_rang_for_runs(client: Client, start_worker: StartWorker, redis: Redis) -> None:
    """An api died between the append and the ring."""
    task_id = await submit(EventLog(redis))
    await hint(redis, task_id)
    async with start_worker():
        await client.ended(task_id)


async def test_a_hint_without_a_task_is_dropped(start_worker: StartWorker, redis: Redis) -> None:
    """An api died before the append; or the task has long ended, or the member is no hint at all."""
    await hint(redis, "s9.abcdefghij")
    await redis.zadd(DUE, {"nonsense": 1, "Bad Tenant/x": 1})
    async with start_worker():

        async def empty() -> bool:
            return await redis.zcard(DUE) == 0

        await wait_until(empty)


async def test_more_hints_than_one_look_takes_are_looked_at_in_a_row(start_worker: StartWorker, redis: Redis) -> None:
    """As after a census: a thousand tasks must not wait for ten looks."""
    await redis.zadd(DUE, {f"{TENANT}/s{number}.abcdefghij": 1 for number in range(450)})
    async with start_worker(reap_every_s=1.5):

        async def empty() -> bool:
            return await redis.zcard(DUE) == 0

        await wait_until(empty, 5)


async def test_the_task_of_a_vanished_worker_is_run_by_another(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Its lease lapses, it is fenced off, and the second attempt ends the task."""
    log = EventLog(redis)
    task_id = await submit(log)
    dead = await claim(redis, lease_ttl_s=0.3)
    await dead.append(log, dead.started(), dead.output("half"))
    history = await taken(client, start_worker, task_id)
    requeued = [json.loads(e.payload)["reason"] for e in history if e.type == "task_requeued"]
    starts = [json.loads(e.payload)["attempt"] for e in history if e.type == "task_started"]
    assert (requeued, starts) == (["crash"], [1, 2])


async def test_a_task_whose_worker_dies_right_after_its_claim_is_run_by_another(
    client: Client, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before it has left any hint of its own; the one of the submit is for half a minute later."""
    claimed, over = asyncio.Event(), asyncio.Event()
    async with start_worker(lease_ttl_s=0.6, reap_every_s=60, max_jobs=1) as dying:
        claim = dying.claims.claim

        async def last(*args: Any, **options: Any) -> None:
            await claim(*args, **options)
            claimed.set()
            await over.wait()
            raise RuntimeError("it is dead")

        monkeypatch.setattr(dying.claims, "claim", last)
        task_id = await client.submit(agent="script", count=1)
        await claimed.wait()
        async with start_worker(lease_ttl_s=0.6):
            log = await client.ended(task_id, timeout_s=5)
        over.set()
    assert [json.loads(entry.payload)["attempt"] for entry in log if entry.type == "task_started"] == [2]
    assert (await client.record(task_id)).crashes == 0


async def test_a_reaper_that_comes_second_does_not_put_off_the_look_at_who_was_first(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """It finds a task queued that another worker claims at that moment, and that one dies: a lease later it looks."""
    log = EventLog(redis)
    task_id = await submit(log)
    async with start_worker(lease_ttl_s=0.6, max_jobs=1):
        busy = await client.submit(agent="script", session_id="s2", count=1000, rate=100)
        await client.wrote("output", "s2")
        await hint(redis, task_id)

        async def rung() -> bool:
            return await redis.zcard("runcast:rings") == 1

        await wait_until(rung)
        due = (await redis.zscore(DUE, f"{TENANT}/{task_id}")) / 1000
        assert due - time.time() <= 0.6 + LATER_S
        await Control(redis, log, Keyspace(), TENANT).cancel(task_id, "test")
        await Control(redis, log, Keyspace(), TENANT).cancel(busy, "test")
        await client.ended(busy)


async def test_an_attempt_that_another_reaper_was_in_doubt_about_is_no_crash(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """It saw the attempt without a lease when the store had just been restored, which may have lost its end."""
    log = EventLog(redis)
    task_id = await submit(log)
    gone = await claim(redis, lease_ttl_s=0.3)
    await gone.append(log, gone.started())
    await client.queue.doubt(task_id, gone.hold.fence)
    history = await taken(client, start_worker, task_id)
    assert [json.loads(e.payload)["reason"] for e in history if e.type == "task_requeued"] == ["lease_lost"]
    assert (await client.record(task_id)).crashes == 0


async def test_a_task_that_keeps_killing_workers_is_given_up(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """After three crashes, deploys not counted; the session's next task then runs."""
    log = EventLog(redis)
    poison = await submit(log)
    following = await submit(log)
    keys = (await claim(redis, lease_ttl_s=0.3)).hold.keys
    await redis.delete(keys.lease)
    await redis.hset(keys.task(poison), "crashes", "2")  # type: ignore[misc]
    third = await claim(redis, lease_ttl_s=0.3)
    await third.append(log, third.started())
    history = await taken(client, start_worker, poison, following)
    failed = next(json.loads(e.payload) for e in history if e.type == "task_failed")
    assert (failed["kind"], failed["retryable"]) == ("poison", False)
    assert await client.state(following) == "complete"


async def test_what_a_vanished_worker_left_open_is_closed_before_its_task_is_given_up(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Its call ends as one whose outcome nobody knows; its parts are dropped by every reader. What had ended is not
    told again."""
    log = EventLog(redis)
    poison = await submit(log)
    dead = await claim(redis, lease_ttl_s=0.3)
    keys, encode = dead.hold.keys, dead.envelope.encode
    calls = [
        ToolCallStart(iteration=2, tool_call_id=call_id, tool_name="shell", arguments={}) for call_id in ("2.0", "2.1")
    ]
    ended = ToolCallComplete(iteration=2, tool_call_id="2.0", tool_name="shell", duration_ms=1, result="so")
    opened = OutputStart(iteration=2, part_id="o1")
    await dead.append(log, dead.started(), *(encode(event) for event in (*calls, ended, opened)))
    entries = {
        "2.0": {"name": "shell", "complete": ended.model_dump()},
        "2.1": {"name": "shell", "complete": None},
        "required:2.7": {"digest": ""},
    }
    await redis.hset(keys.journal(poison), mapping={name: json.dumps(entry) for name, entry in entries.items()})  # type: ignore[misc]
    await redis.hset(keys.task(poison), mapping={"crashes": "2", "iteration": "2"})  # type: ignore[misc]
    history = await taken(client, start_worker, poison)
    last = [json.loads(entry.payload) for entry in history[-3:]]
    assert [event["event_type"] for event in last] == ["tool_call_complete", "iteration_reset", "task_failed"]
    assert (last[0]["tool_call_id"], last[0]["error"]["code"], last[1]["iteration"]) == ("2.1", "interrupted", 2)


async def test_a_task_that_is_being_run_is_left_alone(client: Client, start_worker: StartWorker) -> None:
    """Two reapers look all the time, its hint is always stale, and it still has one attempt."""
    async with start_worker(lease_ttl_s=0.6), start_worker(lease_ttl_s=0.6):
        task_id = await client.submit(agent="script", count=60, rate=50)
        while await client.state(task_id) != "complete":
            await hint(client.redis, task_id, in_s=-60)
        log = await client.ended(task_id)
    assert len([entry for entry in log if entry.type == "task_started"]) == 1


async def test_while_all_workers_are_busy_one_ring_waits(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """However often the reaper looks at the waiting task."""
    async with start_worker(max_jobs=1) as deps:
        busy = await client.submit(agent="script", count=100, rate=100)
        await client.wrote("output")
        waiting = await submit(EventLog(redis), "s2")

        def looks() -> float:
            return deps.metrics.registry.get_sample_value("runcast_tasks_reaped_total", {"action": "rung"}) or 0

        for number in range(1, 4):
            await hint(redis, waiting)
            await wait_until(lambda wanted=number: looks() >= wanted)  # type: ignore[misc]
        assert await redis.zcard("runcast:rings") == 1
        await client.ended(busy)
        await client.ended(waiting)


async def test_a_cancelled_task_whose_worker_vanished_ends_without_another_attempt(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Also while every slot is taken; the session's next task is rung for."""
    log = EventLog(redis)
    async with start_worker(lease_ttl_s=0.6, max_jobs=1):
        busy = await client.submit(agent="script", session_id="s2", count=1000, rate=100)
        await client.wrote("output", "s2")
        task_id = await submit(log)
        following = await submit(log)
        dead = await claim(redis, lease_ttl_s=0.3)
        await dead.append(log, dead.started())
        control = Control(redis, log, Keyspace(), TENANT)
        assert (await control.cancel(task_id, "me", "enough")).state == "running"
        await hint(redis, task_id)

        async def cancelled() -> bool:
            return await client.state(task_id) == "cancelled"

        await wait_until(cancelled, 3)
        await control.cancel(busy, "test")
        history = await client.ended(task_id, following)
        await client.ended(busy)
    ended = next(json.loads(e.payload) for e in history if e.type == "task_cancelled")
    assert (ended["by"], ended["reason"]) == ("me", "enough")
    assert "task_requeued" not in [e.type for e in history]


async def test_the_task_of_a_killed_worker_is_taken_over_when_its_lease_has_lapsed(
    client: Client, start_worker: StartWorker, redis_url: str, agents_file: Path, tmp_path: Path
) -> None:
    """By the hint that the killed process itself left, which comes up a lease later and not two."""
    settings = {"redis_url": redis_url, "agents_file": agents_file, "lease_ttl_s": 2}
    async with worker_process(workspaces=tmp_path / "workspaces", **settings) as (process, _):
        task_id = await client.submit(agent="script", count=1000, rate=100)
        await client.wrote("output")
        async with start_worker(lease_ttl_s=2):
            process.kill()
            killed_at = time.monotonic()
            await client.wrote("task_started", count=2)
            assert time.monotonic() - killed_at < 3
            await Control(client.redis, client.log, Keyspace(), TENANT).cancel(task_id, "test")
            await client.ended(task_id)
    assert (await client.record(task_id)).crashes == 1


async def test_a_call_with_an_id_of_a_scripts_own_is_closed_too(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Where its task is given up; it says of no iteration that it is of it."""
    log = EventLog(redis)
    task_id = await submit(log)
    dead = await claim(redis, lease_ttl_s=0.3)
    start = ToolCallStart(tool_call_id="call-a", tool_name="shell", arguments={})
    entry = Write("journal", "call-a", '{"name": "shell", "digest": "", "complete": null, "closed": false}')
    await log.append(dead.hold, 1, [dead.started(), dead.envelope.encode(start)], [[], [entry]])
    await redis.hset(dead.hold.keys.task(task_id), "crashes", "2")  # type: ignore[misc]
    history = await taken(client, start_worker, task_id)
    ended, failed = (json.loads(entry.payload) for entry in history[-2:])
    assert (ended["tool_call_id"], ended["error"]["code"], failed["kind"]) == ("call-a", "interrupted", "poison")
    assert "iteration" not in ended


async def test_a_task_that_cannot_be_looked_after_holds_up_no_other(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """And ends no worker: its hint would end them all, one after the other."""
    log = EventLog(redis)
    broken, whole = await submit(log), await submit(log, "s2")
    await redis.hset(session_keys().task(broken), "crashes", "many")  # type: ignore[misc]
    await hint(redis, broken, in_s=-60)
    await hint(redis, whole)
    async with start_worker():
        await client.ended(whole)
        await redis.hset(session_keys().task(broken), "crashes", "0")  # type: ignore[misc]
        await hint(redis, broken)
        await client.ended(broken)


@pytest.mark.parametrize("meanwhile", ["another claimed it", "its lease was renewed"])
async def test_an_attempt_is_taken_only_as_it_was_judged(
    client: Client, start_worker: StartWorker, redis: Redis, meanwhile: str
) -> None:
    """A store that hangs between the look and the append leaves time for much."""
    log = EventLog(redis)
    task_id = await submit(log)
    first = await claim(redis)
    await first.append(log, first.started())
    judged, holder = await client.record(task_id), first
    if meanwhile == "another claimed it":
        await first.append(log, first.envelope.encode(TaskRequeued(reason="lease_lost")))
        holder = await claim(redis)
        await holder.append(log, holder.started())
        await redis.delete(session_keys().lease)
    async with start_worker() as deps:
        await Reaper(deps)._take(TENANT, judged)
        record = await client.record(task_id)
        assert (record.state, record.fence, record.crashes) == ("running", holder.hold.fence, 0)
        await holder.append(log, holder.complete())
        await client.ended(task_id)
