"""on_busy of POST /api/tasks: what becomes of a task, and of those before it, in a session that is not at rest."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.events import ApprovalRequired, Event, TaskPaused
from tests.api.running import Api, problem
from tests.attempts import Attempt, claim, entries, requests, session_keys
from tests.history import check_log, check_tasks


async def started(api: Api, redis: Redis, session_id: str = "s1") -> Attempt:
    """An attempt at the session's head task, running."""
    attempt = await claim(redis, session_id)
    await attempt.append(api.state["log"], attempt.started())
    return attempt


async def live(redis: Redis, session_id: str = "s1") -> list[str]:
    return [raw.decode() for raw in await redis.lrange(session_keys(session_id).queue, 0, -1)]  # type: ignore[misc]


async def test_reject_refuses_while_a_task_lives_and_accepts_when_none_does(api: Api, redis: Redis) -> None:
    """The refusal names the live tasks, and leaves nothing behind: no event, no hint."""
    first = await api.submit(session_id="s1", on_busy="reject")
    body = {"task": "hello", "session_id": "s1", "on_busy": "reject"}
    refused = problem(await api.client.post("/api/tasks", json=body), 409, "session_busy")
    assert refused["task_ids"] == [first]
    assert len(await entries(redis)) == 3
    assert await redis.zrange("runcast:due", 0, -1) == [f"default/{first}".encode()]
    await api.client.post(f"/api/tasks/{first}/cancel")
    assert await live(redis) == []
    await api.submit(session_id="s1", on_busy="reject")


async def test_of_many_rejecting_submits_at_once_one_is_accepted(api: Api, redis: Redis) -> None:
    """There is no moment between the look at the session and the append."""
    body = {"task": "hello", "session_id": "s1", "on_busy": "reject"}
    answers = await asyncio.gather(*(api.client.post("/api/tasks", json=body) for _ in range(12)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 11
    assert len(await live(redis)) == 1


async def test_interrupt_in_a_session_at_rest_is_a_plain_submit(api: Api, redis: Redis) -> None:
    """Nothing is there to be cancelled."""
    answer = await api.client.post("/api/tasks", json={"task": "hello", "session_id": "s1", "on_busy": "interrupt"})
    assert answer.json()["interrupted"] is None
    assert await live(redis) == [answer.json()["task_id"]]


@pytest.mark.parametrize("state", ["queued", "paused", "waiting_approval"])
async def test_interrupt_cancels_at_once_what_nobody_runs(api: Api, redis: Redis, state: str) -> None:
    """And comes before what waits; it is rung for, and the cancelled task is expected by nobody."""
    holder, waiting = await api.submit(session_id="s1"), await api.submit(session_id="s1")
    log, envelope = api.state["log"], Envelope("s1", holder)
    if state == "paused":
        paused: Event = TaskPaused(by="me")
        await log.append_control(session_keys(), "pause", [envelope.encode(paused)], task_id=holder)
    elif state == "waiting_approval":
        asks = ApprovalRequired(tool_call_id="1.0", tool_name="shell", arguments={}, reason="policy")
        await (await started(api, redis)).append(log, envelope.encode(asks))
    await redis.delete("runcast:rings")
    interrupting = await api.submit(session_id="s1", on_busy="interrupt")
    assert await live(redis) == [interrupting, waiting]
    shown = (await api.client.get(f"/api/tasks/{holder}")).json()
    assert (shown["state"], shown["cancel_reason"]) == ("cancelled", f"interrupted by {interrupting}")
    assert {ring.decode().partition(":")[0] for ring in await redis.zrange("runcast:rings", 0, -1)} == {interrupting}
    assert await redis.zscore("runcast:due", f"default/{holder}") is None
    assert not await redis.exists(session_keys().control(holder))


async def test_interrupt_asks_a_running_holder_to_end_and_comes_next(api: Api, redis: Redis) -> None:
    """Its attempt finds the request as one of a cancel, and the interrupting task follows its end."""
    holder, waiting = await api.submit(session_id="s1"), await api.submit(session_id="s1")
    attempt = await started(api, redis)
    answer = await api.client.post("/api/tasks", json={"task": "now", "session_id": "s1", "on_busy": "interrupt"})
    interrupting = answer.json()["task_id"]
    assert answer.json()["interrupted"] == holder
    assert await live(redis) == [holder, interrupting, waiting]
    request = {"by": "anonymous", "reason": f"interrupted by {interrupting}"}
    assert await requests(redis, holder) == {"cancel": request}
    told = await attempt.append(api.state["log"], attempt.output("more"))
    assert told.control == 1
    ended = await attempt.append(api.state["log"], attempt.complete())
    assert ended.next_task == interrupting


async def test_many_interrupts_at_once_lose_no_task(api: Api, redis: Redis) -> None:
    """Each is queued and runs, or was the holder and is cancelled for another."""
    await api.submit(session_id="s1")
    accepted = await asyncio.gather(*(api.submit(session_id="s1", on_busy="interrupt") for _ in range(12)))
    log = await entries(redis)
    check_log(log)
    check_tasks(log, ended=False)
    states = {task_id: (await api.client.get(f"/api/tasks/{task_id}")).json()["state"] for task_id in accepted}
    assert sorted(await live(redis)) == sorted(task_id for task_id, state in states.items() if state == "queued")
    assert set(states.values()) <= {"queued", "cancelled"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["enqueue", "reject", "interrupt", "start", "complete"]), max_size=12))
async def test_the_queue_is_what_the_choices_say(api: Api, redis: Redis, steps: list[str]) -> None:
    """Any order of submits, claims and ends, against a list that is moved by the rules of the protocol."""
    await redis.flushdb()
    queue: list[str] = []
    running: Attempt | None = None
    for step in steps:
        if step == "start":
            if queue and running is None:
                running = await started(api, redis)
        elif step == "complete":
            if running is not None:
                await running.append(api.state["log"], running.complete())
                queue.remove(running.task_id)
                running = None
        elif step == "reject" and queue:
            body = {"task": "hello", "session_id": "s1", "on_busy": "reject"}
            assert problem(await api.client.post("/api/tasks", json=body), 409, "session_busy")["task_ids"] == queue
        else:
            task_id = await api.submit(session_id="s1", on_busy=step)
            if step == "interrupt":
                queue.insert(1, task_id)
                if len(queue) > 1 and running is None:
                    queue.pop(0)
            else:
                queue.append(task_id)
        assert await live(redis) == queue
