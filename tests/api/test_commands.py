"""Pause, resume and approve over the api: receipts, problems, and that a worker is rung for."""

import json
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as StoreError

from runcast_events.errors import Fenced
from runcast_events.events import ApprovalRequired
from runcast_events.log import Write
from runcast_tasks.queue import Queue
from tests.api.running import Api, problem
from tests.attempts import claim, session_keys


async def waiting(api: Api, redis: Redis) -> str:
    """A task that waits for an approval of call 1.0."""
    task_id = await api.submit(session_id="s1")
    await ask(api, redis, "1.0")
    return task_id


async def ask(api: Api, redis: Redis, call_id: str) -> None:
    """Have an attempt of the session's task leave it waiting for an approval of this call."""
    attempt = await claim(redis)
    required = ApprovalRequired(tool_call_id=call_id, tool_name="shell", arguments={"command": "ls"}, reason="policy")
    log = api.state["log"]
    await attempt.append(log, attempt.started())
    write = Write("record", "approval", required.model_dump_json())
    await log.append(attempt.hold, 2, [attempt.envelope.encode(required)], [[write]])


async def test_a_queued_task_is_paused_and_resumed(api: Api, redis: Redis) -> None:
    """Each as often as anybody likes; a resumed one is rung for."""
    task_id = await api.submit(session_id="s1")
    for _ in range(2):
        answer = await api.client.post(f"/api/tasks/{task_id}/pause", json={"reason": "wait"})
        assert (answer.status_code, answer.json()) == (202, {"task_id": task_id, "state": "paused"})
    await redis.delete("runcast:rings")
    for _ in range(2):
        answer = await api.client.post(f"/api/tasks/{task_id}/resume")
        assert (answer.status_code, answer.json()) == (202, {"task_id": task_id, "state": "queued"})
    assert await redis.zcard("runcast:rings") >= 1


@pytest.mark.parametrize("command", ["resume", "approvals/1.0"])
@pytest.mark.parametrize("away", ["ring", "expect"])
async def test_what_is_accepted_is_found_by_its_hint(
    api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch, command: str, away: str
) -> None:
    """Also where the queue store is away after the append; away before it, the command is refused and not done."""
    task_id = await (waiting(api, redis) if "/" in command else api.submit(session_id="s1"))
    if command == "resume":
        await api.client.post(f"/api/tasks/{task_id}/pause")
    rested = (await api.client.get(f"/api/tasks/{task_id}")).json()["state"]
    await redis.delete("runcast:rings", "runcast:due")  # rung for, and forgotten by the reaper while it rests

    async def broken(*_: object) -> None:
        raise StoreError("away")

    body = {"decision": "approved"} if "/" in command else None
    with monkeypatch.context() as patched:
        patched.setattr(Queue, away, broken)
        answer = await api.client.post(f"/api/tasks/{task_id}/{command}", json=body)
    state = (await api.client.get(f"/api/tasks/{task_id}")).json()["state"]
    if away == "expect":
        problem(answer, 503, "store_unavailable")
        assert state == rested
    else:
        assert (answer.status_code, state) == (202, "queued")
        assert await redis.zrange("runcast:due", 0, -1) == [f"default/{task_id}".encode()]


async def test_a_pause_between_claim_and_start_ends_the_hold(api: Api, redis: Redis) -> None:
    """Who claimed it is fenced, also when it was resumed since; another may claim it at once."""
    task_id = await api.submit(session_id="s1")
    first = await claim(redis)
    for command, state in (("pause", "paused"), ("resume", "queued")):
        assert (await api.client.post(f"/api/tasks/{task_id}/{command}")).json()["state"] == state
        with pytest.raises(Fenced):
            await api.state["log"].append(first.hold, 1, [first.started()])
    second = await claim(redis)
    await second.append(api.state["log"], second.started(), second.complete())


async def test_a_pause_behind_the_holder_leaves_the_holder_alone(api: Api, redis: Redis) -> None:
    """The lease is another task's."""
    await api.submit(session_id="s1")
    behind = await api.submit(session_id="s1")
    holder = await claim(redis)
    await api.client.post(f"/api/tasks/{behind}/pause")
    assert await redis.get(holder.hold.keys.lease) == f"{holder.task_id}|{holder.hold.fence}".encode()
    await holder.append(api.state["log"], holder.started(), holder.complete())


async def test_to_resume_what_runs_does_not_put_the_reaper_off(api: Api, redis: Redis) -> None:
    """Its worker may be gone, and somebody may ask for ever."""
    task_id = await api.submit(session_id="s1")
    attempt = await claim(redis)
    await attempt.append(api.state["log"], attempt.started())
    await redis.zadd("runcast:due", {f"default/{task_id}": 1})
    assert (await api.client.post(f"/api/tasks/{task_id}/resume")).json()["state"] == "running"
    assert await redis.zscore("runcast:due", f"default/{task_id}") == 1


async def test_an_illegal_move_is_a_conflict_that_names_the_state(api: Api, redis: Redis) -> None:
    """Of an ended task, and of one that waits for an approval; what there is not is not found."""
    task_id = await waiting(api, redis)
    for command in ("pause", "resume"):
        document = problem(await api.client.post(f"/api/tasks/{task_id}/{command}"), 409, "illegal_state")
        assert document["state"] == "waiting_approval"
    await api.client.post(f"/api/tasks/{task_id}/cancel")
    for command in ("pause", "resume", "approvals/1.0"):
        body = {"decision": "approved"} if "/" in command else None
        answer = await api.client.post(f"/api/tasks/{task_id}/{command}", json=body)
        assert problem(answer, 409, "illegal_state")["state"] == "cancelled"
        missing = f"/api/tasks/s1.aaaaaaaaaa/{command}"
        problem(await api.client.post(missing, json=body), 404, "not_found")


async def test_what_waits_for_an_approval_is_shown(api: Api, redis: Redis) -> None:
    """To whoever comes later, or lost the event to a gap; not any more when it is decided."""
    path = f"/api/tasks/{await waiting(api, redis)}"
    shown = (await api.client.get(path)).json()["approval"]
    assert shown == {
        "tool_call_id": "1.0",
        "tool_name": "shell",
        "arguments": {"command": "ls"},
        "reason": "policy",
    }
    await api.client.post(f"{path}/approvals/1.0", json={"decision": "approved"})
    assert (await api.client.get(path)).json()["approval"] is None


async def test_a_command_to_a_task_of_a_deleted_session_is_gone(api: Api) -> None:
    """Whichever it is."""
    task_id = await api.submit(session_id="s1")
    await api.client.delete("/api/sessions/s1", params={"force": True})
    bodies = {"input": {"text": "hello"}, "approvals/1.0": {"decision": "approved"}}
    for command in ("pause", "resume", "cancel", "input", "approvals/1.0"):
        answer = await api.client.post(f"/api/tasks/{task_id}/{command}", json=bodies.get(command))
        problem(answer, 410, "session_deleted")


async def test_what_a_command_cannot_say_is_refused(api: Api) -> None:
    """And not passed over in silence; why a task is paused is told also where nobody runs it."""
    task_id = await api.submit(session_id="s1")
    for command in ("pause", "resume", "cancel"):
        problem(await api.client.post(f"/api/tasks/{task_id}/{command}", json={"when": "now"}), 422, "invalid_request")
    await api.client.post(f"/api/tasks/{task_id}/pause", json={"reason": "wait"})
    events = (await api.client.get("/api/sessions/s1/events")).json()["data"]
    assert (events[-1]["event_type"], events[-1]["reason"]) == ("task_paused", "wait")


async def test_an_approval_is_decided_once_and_asked_again_without_harm(api: Api, redis: Redis) -> None:
    """The state is told; another decision comes too late."""
    task_id = await waiting(api, redis)
    problem(
        await api.client.post(f"/api/tasks/{task_id}/approvals/9.9", json={"decision": "approved"}), 404, "not_found"
    )
    for _ in range(2):
        answer = await api.client.post(f"/api/tasks/{task_id}/approvals/1.0", json={"decision": "approved"})
        assert (answer.status_code, answer.json()) == (202, {"task_id": task_id, "state": "queued"})
    answer = await api.client.post(f"/api/tasks/{task_id}/approvals/1.0", json={"decision": "rejected"})
    assert problem(answer, 409, "illegal_state")["state"] == "queued"


async def test_a_decision_with_other_arguments_is_another_one(api: Api, redis: Redis) -> None:
    """Told as too late, and not taken for accepted; the same one with the same arguments is, as often as one likes."""
    task_id = await waiting(api, redis)
    path = f"/api/tasks/{task_id}/approvals/1.0"
    made = {"decision": "approved", "arguments": {"command": "ls", "all": True}}
    for body in (made, {**made, "reason": "again"}):
        assert (await api.client.post(path, json=body)).status_code == 202
    for other in (None, {}, {"command": "ls", "all": 1}):
        document = problem(
            await api.client.post(path, json={"decision": "approved", "arguments": other}), 409, "illegal_state"
        )
        assert document["state"] == "queued"
        assert document["detail"] == "the call 1.0 was decided about before, and otherwise: approved"
    assert (await api.client.post(path, json=made)).status_code == 202


@pytest.mark.parametrize(("late", "state"), [("approved", "waiting_approval"), ("rejected", None)])
async def test_a_late_decision_changes_nothing(
    api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch, late: str, state: str | None
) -> None:
    """Between its look and its append another is made, and the task waits for the next call by then."""
    task_id, control = await waiting(api, redis), api.state["control"]
    path, body = f"/api/tasks/{task_id}/approvals/1.0", {"decision": "approved"}
    append = control._append

    async def overtaken(*arguments: Any) -> str | None:
        monkeypatch.undo()
        assert (await api.client.post(path, json=body)).status_code == 202
        await ask(api, redis, "2.0")
        return await append(*arguments)

    monkeypatch.setattr(control, "_append", overtaken)
    answer = await api.client.post(path, json={"decision": late})
    if state is None:
        assert problem(answer, 409, "illegal_state")["state"] == "waiting_approval"
    else:
        assert (answer.status_code, answer.json()["state"]) == (202, state)
    assert (await api.client.get(f"/api/tasks/{task_id}")).json()["state"] == "waiting_approval"
    decisions = await redis.hgetall(session_keys().journal(task_id))
    assert {name: json.loads(entry)["decision"] for name, entry in decisions.items()} == {b"approval:1.0": "approved"}


@pytest.mark.parametrize(
    "body",
    [None, {}, {"decision": "maybe"}, {"decision": "rejected", "arguments": {}}, {"decision": "approved", "x": 1}],
)
async def test_a_decision_that_is_none_is_refused(api: Api, redis: Redis, body: Any) -> None:
    """And nothing is decided."""
    task_id = await waiting(api, redis)
    answer = await api.client.post(f"/api/tasks/{task_id}/approvals/1.0", json=body)
    assert answer.status_code in (400, 422)
    assert (await api.client.get(f"/api/tasks/{task_id}")).json()["state"] == "waiting_approval"
