"""/api/sessions: show and delete."""

import asyncio
from typing import Any

from redis.asyncio import Redis

from runcast_api.settings import ApiSettings
from runcast_events.codec import Envelope
from runcast_events.events import TaskCancelled
from runcast_tasks.submit import message
from tests.api.running import Api, problem, running
from tests.attempts import claim, entries, requests, session_keys
from tests.conftest import wait_until


async def test_a_session_shows_its_conversation_and_where_to_go_on(api: Api, redis: Redis) -> None:
    """`as_of` is the id of the last event that is in the answer."""
    task_id = await api.submit("what is here?", session_id="s1")
    shown = (await api.client.get("/api/sessions/s1")).json()
    assert [(m["role"], m["content"], m["task_id"]) for m in shown["messages"]] == [("user", "what is here?", task_id)]
    assert [(task["id"], task["state"]) for task in shown["tasks"]] == [(task_id, "queued")]
    assert (shown["id"], shown["title"], shown["todos"]) == ("s1", None, [])
    assert shown["messages_truncated"] is False
    assert shown["created_at"].endswith("Z")
    assert shown["as_of"] == str((await entries(redis))[-1].id)


async def test_a_session_of_long_messages_shows_the_newest_that_fit(api: Api) -> None:
    """A page of a known size whatever was said; what is left out is said. A prompt shows its head, whole characters."""
    prompt = "\u20ac" * 100_000
    tasks = [await api.submit(prompt, session_id="s1") for _ in range(6)]
    answer = await api.client.get("/api/sessions/s1")
    assert len(answer.content) < 1.1 * 1024 * 1024
    shown = answer.json()
    assert [(line["task_id"], line["content"]) for line in shown["messages"]] == [
        (task_id, prompt) for task_id in tasks[-3:]
    ]
    assert shown["messages_truncated"] is True
    assert [(task["id"], task["prompt"]) for task in shown["tasks"]] == [(task_id, prompt[:200]) for task_id in tasks]


async def test_the_newest_message_is_shown_whatever_its_size(api: Api, redis: Redis) -> None:
    """Else nobody could read a long answer: its events are cut."""
    task_id, answer = await api.submit(session_id="s1"), "x" * 2_000_000
    attempt = await claim(redis)
    await api.state["log"].append(attempt.hold, 1, [attempt.started()], [[message("assistant", answer, task_id)]])
    shown = (await api.client.get("/api/sessions/s1")).json()
    assert [line["content"] for line in shown["messages"]] == [answer]
    assert shown["messages_truncated"] is True


async def test_an_unknown_session_is_404_and_a_wrong_id_422(api: Api) -> None:
    """For every path under it."""
    for suffix in ("", "/events"):
        problem(await api.client.get(f"/api/sessions/none{suffix}"), 404, "not_found")
        for wrong in ("a.b", "a%00", "%E2%80%A8", "a" * 65, "a%20b", "%7Bx%7D"):
            problem(await api.client.get(f"/api/sessions/{wrong}{suffix}"), 422, "invalid_id")
    problem(await api.client.delete("/api/sessions/none"), 404, "not_found")
    problem(await api.client.delete("/api/sessions/none?force=true"), 404, "not_found")
    problem(await api.client.delete("/api/sessions/a.b"), 422, "invalid_id")


async def test_a_session_with_a_live_task_is_not_deleted(api: Api) -> None:
    """The answer names the tasks that are in the way."""
    tasks = [await api.submit(session_id="s1") for _ in range(2)]
    document = problem(await api.client.delete("/api/sessions/s1"), 409, "session_busy")
    assert document["task_ids"] == tasks
    assert (await api.client.get("/api/sessions/s1")).status_code == 200


async def test_deleting_is_idempotent_and_final(api: Api, redis: Redis) -> None:
    """204 twice; then the session is gone from every answer, and said to be deleted."""
    task_id = await api.submit(session_id="s1")
    await api.client.post(f"/api/tasks/{task_id}/cancel")
    for _ in range(2):
        answer = await api.client.delete("/api/sessions/s1")
        assert (answer.status_code, answer.content) == (204, b"")
    problem(await api.client.get("/api/sessions/s1"), 410, "session_deleted")
    problem(await api.client.get("/api/sessions/s1/events"), 410, "session_deleted")
    problem(await api.client.get(f"/api/tasks/{task_id}"), 404, "not_found")
    assert (await api.client.get("/api/sessions")).json()["sessions"] == []
    assert (await api.client.get("/api/tasks")).json()["data"] == []
    assert [entry.type for entry in await entries(redis)] == ["session_deleted"]


async def stop_when_asked(api: Api, redis: Redis) -> str:
    """The attempt of a worker that heeds a cancel request; returns its task."""
    attempt = await claim(redis)
    await attempt.append(api.state["log"], attempt.started())

    async def asked() -> bool:
        return "cancel" in await requests(redis, attempt.task_id)

    await wait_until(asked)
    wish: Any = (await requests(redis, attempt.task_id))["cancel"]
    end = Envelope("s1", attempt.task_id, 1).encode(TaskCancelled(by=wish["by"], reason=wish["reason"]))
    await attempt.append(api.state["log"], end)
    return attempt.task_id


async def test_force_cancels_all_live_tasks_first_the_running_one_last(api: Api, redis: Redis) -> None:
    """The waiting ones never start; the session is deleted when the running one has ended."""
    holder, *waiting = [await api.submit(session_id="s1") for _ in range(3)]
    await redis.delete("runcast:rings")
    worker = asyncio.create_task(stop_when_asked(api, redis))
    await wait_until(lambda: redis.exists(session_keys().lease))
    answer = await api.client.delete("/api/sessions/s1?force=true")
    assert answer.status_code == 204
    rung_for = {ring.decode().rpartition(":")[0] for ring in await redis.zrange("runcast:rings", 0, -1)}
    assert rung_for.isdisjoint(waiting)
    assert await worker == holder


async def test_force_gives_up_on_a_task_that_does_not_end(redis: Redis, redis_url: str) -> None:
    """409 with the task, in bounded time; the session stays, and the request to stop too."""
    async with running(ApiSettings(redis_url=redis_url, delete_wait_s=0.2)) as api:
        task_id = await api.submit(session_id="s1")
        attempt = await claim(redis)
        await attempt.append(api.state["log"], attempt.started())
        document = problem(await api.client.delete("/api/sessions/s1?force=true"), 409, "session_busy")
        assert document["task_ids"] == [task_id]
        assert "cancel" in await requests(redis, task_id)
        assert (await api.client.get("/api/sessions/s1")).status_code == 200


async def test_two_forced_deletes_at_once_both_succeed(api: Api) -> None:
    """One of them finds the work done."""
    for _ in range(3):
        await api.submit(session_id="s1")
    answers = await asyncio.gather(*(api.client.delete("/api/sessions/s1?force=true") for _ in range(4)))
    assert {answer.status_code for answer in answers} == {204}
