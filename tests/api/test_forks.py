"""POST /api/sessions/{session_id}/fork: a new session that begins with what another one was at an event."""

import asyncio
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from runcast_api.settings import ApiSettings
from runcast_events.codec import Encoded
from runcast_events.events import (
    Event,
    MessageAdded,
    PhaseComplete,
    PhaseStart,
    PlanCreated,
    Progress,
    TodosUpdated,
)
from runcast_events.log import Write
from runcast_tasks.board import Board
from runcast_tasks.conversation import read_conversation
from runcast_tasks.submit import message
from tests.api.running import Api, problem, running
from tests.attempts import Attempt, claim, entries, session_keys
from tests.history import check_log

PLAN = PlanCreated.model_validate({"goal": "g", "phases": [{"id": "1", "name": "one"}, {"id": "2", "name": "two"}]})
OTHER_PLAN = PlanCreated.model_validate({"goal": "h", "phases": [{"id": "1", "name": "uno"}]})


def todos(text: str) -> TodosUpdated:
    return TodosUpdated.model_validate({"todos": [{"id": "1", "text": text, "done": False}]})


class Talk:
    """A session of one attempt after the other, which writes board and conversation as a worker does."""

    def __init__(self, api: Api, redis: Redis) -> None:
        self.api, self.redis, self.board = api, redis, Board()
        self.attempt: Attempt | None = None

    async def begin(self, prompt: str) -> str:
        task_id = await self.api.submit(prompt, session_id="s1")
        self.attempt = await claim(self.redis)
        await self.attempt.append(self.api.state["log"], self.attempt.started())
        return task_id

    async def write(self, event: Event, *writes: Write) -> str:
        """Returns the event's id."""
        assert self.attempt is not None
        batch = [self.attempt.envelope.encode(event)]
        appended = await self.api.state["log"].append(
            self.attempt.hold, self.attempt.sequence + 1, batch, [[*writes, *self.board.writes(event)]]
        )
        self.attempt.sequence += 1
        return str(appended.last)

    async def say(self, role: Any, text: str) -> str:
        assert self.attempt is not None
        return await self.write(MessageAdded(role=role, content=text), message(role, text, self.attempt.task_id))

    async def end(self) -> None:
        assert self.attempt is not None
        last: Encoded = self.attempt.complete()
        await self.attempt.append(self.api.state["log"], last)


@pytest.fixture
def talk(api: Api, redis: Redis) -> Talk:
    return Talk(api, redis)


async def fork(api: Api, status: int = 201, **body: str) -> dict[str, Any]:
    answer = await api.client.post("/api/sessions/s1/fork", json=body)
    assert answer.status_code == status, answer.text
    receipt: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/api/sessions/{receipt['session_id']}"
    return receipt


async def show(api: Api, session_id: str) -> dict[str, Any]:
    answer = await api.client.get(f"/api/sessions/{session_id}")
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_fork_is_the_session_as_it_was_at_the_event(api: Api, redis: Redis, talk: Talk) -> None:
    """The messages up to it, the plan and the todos as of then; and not what came later."""
    await talk.begin("first")
    await talk.write(PLAN)
    await talk.write(PhaseStart(phase_id="1", phase_name="one", phase_index=0))
    await talk.write(todos("early"))
    at = await talk.say("assistant", "answer")
    await talk.write(PhaseComplete(phase_id="1", phase_name="one", phase_index=0))
    await talk.write(todos("late"))
    await talk.end()
    await talk.begin("second")
    await talk.write(OTHER_PLAN)
    receipt = await fork(api, at=at, session_id="s2")
    origin = {"session_id": "s1", "event_id": at, "messages_left_out": 0}
    assert receipt["forked_from"] == origin
    assert receipt["links"] == {"self": "/api/sessions/s2", "events": "/stream/sessions/s2"}
    shown, source = await show(api, "s2"), await show(api, "s1")
    assert shown["messages"] == source["messages"][:2]
    assert [line["content"] for line in shown["messages"]] == ["first", "answer"]
    assert [phase["state"] for phase in shown["plan"]["phases"]] == ["active", "pending"]
    assert [todo["text"] for todo in shown["todos"]] == ["early"]
    assert (shown["forked_from"], shown["tasks"], shown["usage"]["input"]) == (origin, [], 0)
    log = await entries(redis, "s2")
    check_log(log)
    assert [entry.type for entry in log] == ["session_created"]
    assert json.loads(log[0].payload)["forked_from"] == {"session_id": "s1", "event_id": at}
    assert source["plan"]["goal"] == "h"
    assert (await api.client.get("/api/sessions")).json()["sessions"][0] == "s2"
    await talk.end()


async def test_without_an_event_it_is_forked_at_its_newest(api: Api, talk: Talk) -> None:
    """No body at all is enough; the new id is the server's."""
    await talk.begin("first")
    await talk.write(PLAN)
    answer = await api.client.post("/api/sessions/s1/fork")
    assert answer.status_code == 201
    receipt, source = answer.json(), await show(api, "s1")
    assert receipt["forked_from"]["event_id"] == source["as_of"]
    shown = await show(api, receipt["session_id"])
    assert (shown["messages"], shown["plan"]) == (source["messages"], source["plan"])
    await talk.end()


async def test_a_fork_goes_on_by_itself(api: Api, redis: Redis, talk: Talk) -> None:
    """A task in it reads the conversation of old; the two sessions change nothing of each other. It expires like any
    session at rest, and not while it has a live task."""
    await talk.begin("first")
    await talk.end()
    await fork(api, session_id="s2")
    for name in ("events", "meta", "session", "messages"):
        assert await redis.pttl(getattr(session_keys("s2"), name)) > 0
    before = await show(api, "s1")
    task_id = await api.submit("other", session_id="s2")
    told = await read_conversation(redis, session_keys("s2"), task_id)
    assert [line.content for line in told] == ["first"]
    assert await redis.pttl(session_keys("s2").messages) == -1
    assert await show(api, "s1") == before
    assert [line["content"] for line in (await show(api, "s2"))["messages"]] == ["first", "other"]


async def test_a_fork_of_a_fork_takes_along_what_that_one_took(api: Api, talk: Talk) -> None:
    """Its conversation stands in no event of its own log."""
    await talk.begin("first")
    await talk.write(PLAN)
    await talk.end()
    await fork(api, session_id="s2")
    created = (await show(api, "s2"))["as_of"]
    await api.submit("later", session_id="s2")
    answer = await api.client.post("/api/sessions/s2/fork", json={"at": created, "session_id": "s3"})
    assert answer.status_code == 201
    shown = await show(api, "s3")
    assert ([line["content"] for line in shown["messages"]], shown["plan"]["goal"]) == (["first"], "g")


async def test_the_same_fork_again_is_answered_with_what_is_there(api: Api, talk: Talk) -> None:
    """Also when it has gone on, the event is not named, or many ask at once; anything else of that id is refused."""
    await talk.begin("first")
    at = await talk.say("assistant", "answer")
    ask = {"at": at, "session_id": "s2"}
    answers = await asyncio.gather(*(api.client.post("/api/sessions/s1/fork", json=ask) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.text for answer in answers}) == 1
    await api.submit("other", session_id="s2")
    await talk.end()
    assert await fork(api, 200, session_id="s2") == await fork(api, 200, **ask) == answers[0].json()
    assert len((await show(api, "s2"))["messages"]) == 3
    newest = (await show(api, "s1"))["as_of"]
    for body in ({"at": newest, "session_id": "s2"}, {"session_id": "s1"}):
        problem(await api.client.post("/api/sessions/s1/fork", json=body), 409, "session_exists")
    problem(await api.client.post("/api/sessions/s2/fork", json={"session_id": "s1"}), 409, "session_exists")


async def test_what_cannot_be_forked_is_refused_with_the_reason(api: Api, redis: Redis, talk: Talk) -> None:
    """And nothing is written."""
    problem(await api.client.post("/api/sessions/none/fork"), 404, "not_found")
    await talk.begin("first")
    at = await talk.say("assistant", "answer")
    await talk.end()
    before = await redis.dbsize()
    epoch = int(at.partition("-")[0])
    for unknown in ("0-0", "1-1", f"{epoch - 1}-1", f"{epoch}-999", f"{epoch + 10**6}-1"):
        problem(await api.client.post("/api/sessions/s1/fork", json={"at": unknown}), 404, "unknown_event")
    for wrong in ({"at": "latest"}, {"at": "1"}, {"session_id": "a b"}, {"session_id": ""}):
        problem(await api.client.post("/api/sessions/s1/fork", json=wrong), 422, "invalid_id")
    problem(await api.client.post("/api/sessions/s1/fork", json={"from": at}), 422, "invalid_request")
    assert await redis.dbsize() == before
    await api.client.delete("/api/sessions/s1")
    problem(await api.client.post("/api/sessions/s1/fork", json={"at": at}), 410, "session_deleted")
    await api.submit(session_id="s2")
    problem(await api.client.post("/api/sessions/s2/fork", json={"session_id": "s1"}), 410, "session_deleted")


async def test_a_trimmed_log_is_forked_where_it_still_is(redis: Redis, redis_url: str) -> None:
    """The conversation is whole although its events are gone; what the log cannot tell any more is left out."""
    async with running(ApiSettings(redis_url=redis_url, log_max_entries=16)) as api:
        talk = Talk(api, redis)
        await talk.begin("first")
        gone = await talk.write(PLAN)
        await talk.write(todos("early"))
        for percent in range(20):
            at = await talk.write(Progress(percent=percent))
        await talk.write(PhaseStart(phase_id="1", phase_name="one", phase_index=0))
        await talk.say("assistant", "answer")
        problem(await api.client.post("/api/sessions/s1/fork", json={"at": gone}), 410, "event_trimmed")
        await fork(api, at=at, session_id="s2")
        shown = await show(api, "s2")
        assert [line["content"] for line in shown["messages"]] == ["first"]
        assert shown["plan"] is None, "it was changed since, and what made it is gone"
        assert [todo["text"] for todo in shown["todos"]] == ["early"], "nobody changed them since"
        await talk.end()


steps = st.lists(
    st.sampled_from(["begin", "user", "assistant", "plan", "start", "complete", "todos", "progress"]), max_size=25
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, pick=st.integers(0, 10**6))
async def test_a_fork_at_any_event_shows_what_a_look_at_that_moment_showed(
    api: Api, redis: Redis, steps: list[str], pick: int
) -> None:
    """Whatever was written: a snapshot after each event is the model."""
    await redis.flushdb()
    talk = Talk(api, redis)
    await talk.begin("first")
    shown = [await show(api, "s1")]
    for number, step in enumerate(steps):
        match step:
            case "begin":
                await talk.end()
                await talk.begin(f"prompt {number}")
            case "user" | "assistant":
                await talk.say(step, f"said {number}")
            case "plan":
                await talk.write(PLAN if number % 2 else OTHER_PLAN)
            case "start":
                await talk.write(PhaseStart(phase_id="1", phase_name="one", phase_index=0))
            case "complete":
                await talk.write(PhaseComplete(phase_id="1", phase_name="one", phase_index=0))
            case "todos":
                await talk.write(todos(f"todo {number}"))
            case _:
                await talk.write(Progress(percent=1))
        shown.append(await show(api, "s1"))
    then = shown[pick % len(shown)]
    receipt = await fork(api, at=then["as_of"])
    forked = await show(api, receipt["session_id"])
    for name in ("messages", "plan", "todos", "title"):
        assert forked[name] == then[name]
    await talk.end()
