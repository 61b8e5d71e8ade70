"""/api/tasks."""

import asyncio
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runcast_agents import Agent, InvalidAgents
from runcast_api.app import choose_default
from runcast_api.settings import ApiSettings
from runcast_events.codec import Envelope
from runcast_events.events import TaskFailed
from tests.api.running import Api, problem, running
from tests.attempts import claim, entries, requests
from tests.conftest import wait_until

MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z")


async def test_an_accepted_task_is_in_the_log_the_record_the_indexes_and_the_queue(api: Api, redis: Redis) -> None:
    """202 promises that the task will run, and the receipt says where to look for it."""
    answer = await api.client.post(
        "/api/tasks", json={"task": "hello", "session_id": "s1", "params": {"a": 1}, "metadata": {"b": [None]}}
    )
    assert answer.status_code == 202
    receipt = answer.json()
    task_id = receipt["task_id"]
    assert receipt == {
        "status": "accepted",
        "task_id": task_id,
        "session_id": "s1",
        "message": "The task is accepted and will run.",
        "interrupted": None,
        "links": {
            "self": f"/api/tasks/{task_id}",
            "events": f"/stream/tasks/{task_id}",
            "cancel": f"/api/tasks/{task_id}/cancel",
        },
    }
    assert answer.headers["location"] == f"/api/tasks/{task_id}"
    assert [entry.type for entry in await entries(redis)] == ["session_created", "message_added", "task_queued"]
    assert await redis.zcard("runcast:rings") == 1
    assert await redis.zrange("runcast:due", 0, -1) == [f"default/{task_id}".encode()]
    shown = (await api.client.get(receipt["links"]["self"])).json()
    assert (shown["state"], shown["prompt"], shown["agent"], shown["attempt"]) == ("queued", "hello", "demo", 0)
    assert (shown["params"], shown["metadata"], shown["model"]) == ({"a": 1}, {"b": [None]}, None)
    assert MOMENT.fullmatch(shown["created_at"])
    assert (shown["started_at"], shown["final_answer"], shown["error"]) == (None, None, None)


async def test_a_task_without_a_session_gets_one_of_its_own(api: Api) -> None:
    """Two such tasks share nothing."""
    first, second = await api.submit(), await api.submit()
    assert first.split(".")[0] != second.split(".")[0]


async def test_an_unknown_agent_is_refused_with_the_names_of_the_known_ones(api: Api, redis: Redis) -> None:
    """And nothing is written."""
    answer = await api.client.post("/api/tasks", json={"task": "hello", "agent": "\u0000no\nbody"})
    assert "expected one of demo" in problem(answer, 422, "unknown_agent")["detail"]
    assert await redis.dbsize() == 0


async def test_a_task_that_names_no_agent_gets_the_default_one(redis: Redis, redis_url: str, tmp_path: Path) -> None:
    """The default is a setting; the agents come from the file, and are listed as it has them."""
    file = tmp_path / "agents.toml"
    file.write_text('[agents.plain]\nengine = "demo"\n[agents.play]\nengine = "script"\ndescription = "Plays."\n')
    async with running(ApiSettings(redis_url=redis_url, agents_file=file, default_agent="play")) as api:
        task = (await api.client.get(f"/api/tasks/{await api.submit()}")).json()
        agents = (await api.client.get("/api/agents")).json()
    assert task["agent"] == "play"
    assert [(agent["name"], agent["engine"], agent["description"]) for agent in agents["data"]] == [
        ("plain", "demo", ""),
        ("play", "script", "Plays."),
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"task": ""},
        {"task": " \n\t\u2003"},
        {"task": None},
        {"task": 5},
        {"task": ["hello"]},
        {"task": "x" * 200_001},
        {"task": "hello", "surprise": 1},
        {"task": "hello", "session_id": 7},
        {"task": "hello", "params": []},
        {"task": "hello", "params": None},
        {"task": "hello", "params": {"a": "x" * 20_000}},
        {"task": "hello", "metadata": {"a": "x" * 20_000}},
        {"task": "hello", "model": ""},
        {"task": "hello", "on_busy": "replace"},
        [],
        [{"task": "hello"}],
        "hello",
        7,
        None,
    ],
    ids=lambda body: repr(body)[:40],
)
async def test_a_body_that_does_not_fit_is_refused_with_the_wrong_field(api: Api, redis: Redis, body: object) -> None:
    """422 names what is wrong; nothing is written."""
    document = problem(await api.client.post("/api/tasks", json=body), 422, "invalid_request")
    assert document["errors"][0]["loc"][0] == "body"
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("session_id", ["", "a b", "a/b", "a" * 65, "s\u0000", "s\n", "\u0661", "{x}", "s.1"])
async def test_a_wrong_session_id_is_refused_as_invalid_id(api: Api, redis: Redis, session_id: str) -> None:
    """In a body as in a path: the same code, and no key that the client made up."""
    answer = await api.client.post("/api/tasks", json={"task": "hello", "session_id": session_id})
    problem(answer, 422, "invalid_id")
    assert await redis.dbsize() == 0


async def test_the_largest_task_fits(api: Api) -> None:
    """A prompt at its limit beside params at theirs: the event is cut, the record keeps the whole prompt."""
    prompt, params = "\u0001é" * 100_000, {"a": "x" * 16_000}
    task_id = await api.submit(prompt, session_id="s1", params=params)
    shown = (await api.client.get(f"/api/tasks/{task_id}")).json()
    assert shown["prompt"] == prompt
    assert shown["params"] == params


async def test_an_unknown_task_is_404_and_a_wrong_id_is_422(api: Api) -> None:
    """The two are told apart: one may exist later or elsewhere, the other never."""
    problem(await api.client.get("/api/tasks/s1.abcdefghij"), 404, "not_found")
    for wrong in ("s1", "s1.ABCDEFGHIJ", "s1.abcdefghi1", "a%00b.abcdefghij", ".abcdefghij", "s1.abcdefghij%0a"):
        problem(await api.client.get(f"/api/tasks/{wrong}"), 422, "invalid_id")
        problem(await api.client.post(f"/api/tasks/{wrong}/cancel"), 422, "invalid_id")


async def test_a_finished_task_shows_its_answer(api: Api, redis: Redis) -> None:
    """The outcome of the terminal event is part of the task."""
    task_id = await api.submit(session_id="s1")
    attempt = await claim(redis)
    await attempt.append(api.state["log"], attempt.started())
    last = (await attempt.append(api.state["log"], attempt.complete())).last
    shown = (await api.client.get(f"/api/tasks/{task_id}")).json()
    assert (shown["state"], shown["final_answer"], shown["attempt"]) == ("complete", "done", 1)
    assert shown["terminal_id"] == str(last)
    assert shown["usage"] == {"input": 0, "output": 0, "cached": 0, "cost_usd": None}
    assert MOMENT.fullmatch(shown["started_at"])
    assert MOMENT.fullmatch(shown["ended_at"])


async def test_a_failed_task_shows_its_error(api: Api, redis: Redis) -> None:
    """Message, kind, and whether trying again makes sense."""
    task_id = await api.submit(session_id="s1")
    attempt = await claim(redis)
    failed = Envelope("s1", task_id, 1).encode(TaskFailed(error="it broke", kind="engine", retryable=True))
    await attempt.append(api.state["log"], attempt.started(), failed)
    shown = (await api.client.get(f"/api/tasks/{task_id}")).json()
    assert shown["error"] == {"message": "it broke", "kind": "engine", "retryable": True}
    assert shown["final_answer"] is None


async def test_a_queued_task_is_cancelled_at_once_and_the_next_one_is_rung_for(api: Api, redis: Redis) -> None:
    """Cancelling again answers 200 with the state it ended in."""
    first, second = await api.submit(session_id="s1"), await api.submit(session_id="s1")
    await redis.delete("runcast:rings")
    answer = await api.client.post(f"/api/tasks/{first}/cancel", json={"reason": "no longer needed"})
    assert answer.status_code == 202
    assert answer.json() == {"task_id": first, "state": "cancelled", "status": "cancelled"}
    rings = [raw.decode() for raw in await redis.zrange("runcast:rings", 0, -1)]
    assert [ring.rpartition(":")[0] for ring in rings] == [second]
    assert await redis.zrange("runcast:due", 0, -1) == [f"default/{second}".encode()]
    shown = (await api.client.get(f"/api/tasks/{first}")).json()
    assert (shown["cancelled_by"], shown["cancel_reason"]) == ("anonymous", "no longer needed")
    again = await api.client.post(f"/api/tasks/{first}/cancel")
    assert again.status_code == 200
    assert again.json() == {"task_id": first, "state": "cancelled", "status": "ended"}


async def test_a_running_task_is_asked_to_stop(api: Api, redis: Redis) -> None:
    """Its attempt writes the end; asking twice leaves one request, the first."""
    task_id = await api.submit(session_id="s1")
    attempt = await claim(redis)
    await attempt.append(api.state["log"], attempt.started())
    for reason in ("first", "second"):
        answer = await api.client.post(f"/api/tasks/{task_id}/cancel", json={"reason": reason})
        assert answer.status_code == 202
        assert answer.json() == {"task_id": task_id, "state": "running", "status": "cancelling"}
    assert await requests(redis, task_id) == {"cancel": {"by": "anonymous", "reason": "first"}}
    assert await redis.zscore("runcast:due", f"default/{task_id}") is not None


async def test_cancelling_what_is_not_there_is_404_and_in_a_deleted_session_410(api: Api) -> None:
    """Deleted is told apart from never seen."""
    problem(await api.client.post("/api/tasks/s1.abcdefghij/cancel"), 404, "not_found")
    task_id = await api.submit(session_id="s1")
    problem(await api.client.post("/api/tasks/s1.abcdefghij/cancel"), 404, "not_found")
    assert (await api.client.delete("/api/sessions/s1?force=true")).status_code == 204
    problem(await api.client.post(f"/api/tasks/{task_id}/cancel"), 410, "session_deleted")
    problem(await api.client.post("/api/tasks", json={"task": "hello", "session_id": "s1"}), 410, "session_deleted")


async def test_cancel_takes_an_empty_body_but_no_wrong_one(api: Api) -> None:
    """A body is optional, not unchecked."""
    task_id = await api.submit()
    path = f"/api/tasks/{task_id}/cancel"
    problem(await api.client.post(path, json={"why": "x"}), 422, "invalid_request")
    problem(await api.client.post(path, json={"reason": 5}), 422, "invalid_request")
    problem(await api.client.post(path, json=[]), 422, "invalid_request")
    assert (await api.client.post(path, content=b"")).status_code == 202


async def test_a_submit_whose_request_is_cancelled_is_carried_out_whole(api: Api, redis: Redis) -> None:
    """A task is in the log and rung for, or nowhere: never half, whenever the request goes."""
    await redis.client_pause(200)
    request = asyncio.create_task(api.client.post("/api/tasks", json={"task": "hello", "session_id": "s1"}))
    await wait_until(lambda: bool(api.state["pending"]))
    request.cancel()
    await asyncio.gather(request, return_exceptions=True)
    assert request.cancelled()
    await asyncio.gather(*api.state["pending"])
    assert len(await entries(redis)) == 3
    assert await redis.zcard("runcast:rings") == 1
    assert await redis.zcard("runcast:index:default:tasks") == 1


async def test_the_cancellation_of_a_task_in_another_session_changes_nothing_here(api: Api) -> None:
    """A task id names its session: sessions do not mix."""
    here, there = await api.submit(session_id="here"), await api.submit(session_id="there")
    await api.client.post(f"/api/tasks/{there}/cancel")
    assert (await api.client.get(f"/api/tasks/{here}")).json()["state"] == "queued"


@pytest.mark.parametrize(
    ("named", "known", "chosen"),
    [
        (None, ["x"], "x"),
        (None, ["x", "demo"], "demo"),
        ("x", ["x", "demo"], "x"),
        (None, ["x", "y"], None),
        ("z", ["x"], None),
    ],
)
def test_the_default_agent_is_the_one_set_or_the_obvious_one(
    named: str | None, known: list[str], chosen: str | None
) -> None:
    """Somebody with one agent of their own need not name it twice; where nothing is obvious the start is refused."""
    settings = ApiSettings(default_agent=named)
    agents = {name: Agent(engine="demo") for name in known}
    if chosen is not None:
        assert choose_default(settings, agents) == chosen
        return
    with pytest.raises(InvalidAgents, match="RUNCAST_DEFAULT_AGENT"):
        choose_default(settings, agents)


def test_the_refusal_without_a_default_agent_is_documented() -> None:
    """Where the file is explained, word by word."""
    agents = {name: Agent(engine="demo") for name in ("reader", "coder")}
    with pytest.raises(InvalidAgents) as refused:
        choose_default(ApiSettings(), agents)
    document = Path(__file__).parents[2] / "docs" / "agents.md"
    assert f"\nruncast_api cannot start: {refused.value}\n" in document.read_text()
