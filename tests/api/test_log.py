"""/api/tasks/{id}/log: a process's lines, rendered."""

import json
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runcast_api import log as log_module
from runcast_api import loglines
from runcast_api.settings import ApiSettings
from runcast_events.events import Log, TaskRequeued
from runcast_events.log import EventLog, LogLimits
from tests.api.running import Api, problem
from tests.attempts import Attempt, claim, entries, session_keys


async def begin(api: Api, redis: Redis, session_id: str = "s1") -> Attempt:
    """A running task."""
    await api.submit(session_id=session_id)
    attempt = await claim(redis, session_id)
    await attempt.append(api.state["log"], attempt.started())
    return attempt


async def printed(attempt: Attempt, log: EventLog, *lines: str, first: int = 1) -> None:
    events = [Log(line=line, line_num=number, stream="stdout") for number, line in enumerate(lines, first)]
    for at in range(0, len(events), 50):
        await attempt.append(log, *map(attempt.envelope.encode, events[at : at + 50]))


def path(attempt: Attempt, query: str = "") -> str:
    return f"/api/tasks/{attempt.task_id}/log{query}"


async def test_the_lines_of_a_task_are_its_log(api: Api, redis: Redis) -> None:
    """As plain text, one line each, of a running task as of an ended one."""
    attempt = await begin(api, redis)
    await printed(attempt, api.state["log"], "one", "", "zwei 🎉")
    answer = await api.client.get(path(attempt))
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.text == "one\n\nzwei 🎉\n"
    await attempt.append(api.state["log"], attempt.complete())
    assert (await api.client.get(path(attempt))).text == "one\n\nzwei 🎉\n"


async def test_colours_are_left_out_unless_they_are_asked_for(api: Api, redis: Redis) -> None:
    """In every format."""
    attempt = await begin(api, redis)
    await printed(attempt, api.state["log"], "\x1b[31mred\x1b[0m")
    assert (await api.client.get(path(attempt))).text == "red\n"
    assert (await api.client.get(path(attempt, "?ansi=keep"))).text == "\x1b[31mred\x1b[0m\n"
    (line,) = (await api.client.get(path(attempt, "?format=json&ansi=keep"))).json()["data"]
    assert line["line"] == "\x1b[31mred\x1b[0m"


async def test_json_and_ndjson_tell_more_of_each_line(api: Api, redis: Redis) -> None:
    """Its number, its attempt, its stream, its time."""
    attempt = await begin(api, redis)
    await printed(attempt, api.state["log"], "one", "two")
    answer = await api.client.get(path(attempt, "?format=json"))
    assert answer.headers["content-type"] == "application/json"
    data = answer.json()["data"]
    assert [(e["attempt"], e["line_num"], e["stream"], e["line"]) for e in data] == [
        (1, 1, "stdout", "one"),
        (1, 2, "stdout", "two"),
    ]
    assert data[0]["timestamp"].endswith("Z")
    lines = await api.client.get(path(attempt, "?format=ndjson"))
    assert lines.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in lines.text.splitlines()] == data


async def test_a_task_without_lines_has_an_empty_log(api: Api, redis: Redis) -> None:
    """Queued, or of another engine."""
    task_id = await api.submit()
    for query, text in (("", ""), ("?format=json", '{"data":[]}'), ("?format=ndjson", ""), ("?tail=3", "")):
        answer = await api.client.get(f"/api/tasks/{task_id}/log{query}")
        assert (answer.status_code, answer.text) == (200, text)


async def test_only_the_tasks_own_lines_are_shown(api: Api, redis: Redis) -> None:
    """Not those of the session's tasks before and after it."""
    first = await begin(api, redis)
    await printed(first, api.state["log"], "first")
    await api.submit(session_id="s1")
    await printed(first, api.state["log"], "still first", first=2)
    await first.append(api.state["log"], first.complete())
    second = await claim(redis)
    await second.append(api.state["log"], second.started())
    await printed(second, api.state["log"], "second")
    assert (await api.client.get(path(first))).text == "first\nstill first\n"
    assert (await api.client.get(path(second))).text == "second\n"


@pytest.mark.parametrize("count", [1, 7, 300, 1000])
async def test_a_tail_is_the_last_lines(api: Api, redis: Redis, count: int) -> None:
    """Over any number of pages."""
    attempt = await begin(api, redis)
    await printed(attempt, api.state["log"], *(f"line {n}" for n in range(700)))
    whole = (await api.client.get(path(attempt))).text.splitlines()
    assert whole == [f"line {n}" for n in range(700)]
    assert (await api.client.get(path(attempt, f"?tail={count}"))).text.splitlines() == whole[-count:]
    data = (await api.client.get(path(attempt, f"?tail={count}&format=json"))).json()["data"]
    assert [line["line"] for line in data] == whole[-count:]


async def test_another_attempt_is_told(api: Api, redis: Redis) -> None:
    """The lines of both are there: what the first did may have had effects."""
    attempt = await begin(api, redis)
    await printed(attempt, api.state["log"], "before")
    await attempt.append(api.state["log"], attempt.envelope.encode(TaskRequeued(reason="drain")))
    again = await claim(redis)
    await again.append(api.state["log"], again.started())
    await printed(again, api.state["log"], "after")
    assert (await api.client.get(path(attempt))).text == "before\n[attempt 2]\nafter\n"


async def test_a_trimmed_beginning_is_said(api: Api, redis: Redis) -> None:
    """Not where only a tail was asked for that is whole."""
    attempt = await begin(api, redis)
    narrow = EventLog(redis, LogLimits(max_entries=20))
    await printed(attempt, narrow, *map(str, range(100)))
    text = (await api.client.get(path(attempt))).text.splitlines()
    assert text[0] == "[the beginning of this log was trimmed]"
    kept = len(await entries(redis))
    assert text[1:] == [str(n) for n in range(100 - kept, 100)]
    first, *_ = (await api.client.get(path(attempt, "?format=json"))).json()["data"]
    assert first["gap"]["reason"] == "trimmed"
    assert (await api.client.get(path(attempt, "?tail=5"))).text.splitlines() == ["95", "96", "97", "98", "99"]
    assert (await api.client.get(path(attempt, "?tail=1000"))).text.splitlines() == text


async def test_a_hole_in_the_middle_is_said_where_it_is(api: Api, redis: Redis) -> None:
    """A reader must not take two lines for neighbours that were none."""
    attempt = await begin(api, redis)
    await printed(attempt, api.state["log"], "one", "two", "three")
    log = await entries(redis)
    await redis.xdel(session_keys().events, str(log[-2].id))
    assert (await api.client.get(path(attempt))).text == "one\n[lines are missing here]\nthree\n"


async def test_a_log_whose_entries_the_store_lost_says_so(api: Api, redis: Redis) -> None:
    """It does not look empty."""
    attempt = await begin(api, redis)
    await printed(attempt, api.state["log"], "one")
    await redis.delete(session_keys().events)
    assert (await api.client.get(path(attempt))).text == "[the beginning of this log was trimmed]\n"


async def test_long_lines_are_read_in_small_pages(api: Api, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in memory at a time is bounded, whatever the log holds; a tail too."""
    monkeypatch.setattr(log_module, "TAIL_CHARS", 10 * 8000)
    monkeypatch.setattr(loglines, "FAST_BYTES", 16 * 1024)
    attempt = await begin(api, redis)
    for at in range(0, 120, 10):
        await printed(attempt, api.state["log"], *(f"{n:03d}" + "x" * 7997 for n in range(at, at + 10)), first=at + 1)
    asked: list[int] = []
    page = type(api.state["reader"]).page

    async def counted(reader: object, keys: object, after: object, count: int) -> object:
        asked.append(count)
        return await page(reader, keys, after, count)  # type: ignore[arg-type]

    monkeypatch.setattr(type(api.state["reader"]), "page", counted)
    lines = (await api.client.get(path(attempt))).text.splitlines()
    assert [line[:3] for line in lines] == [f"{n:03d}" for n in range(120)]
    assert set(asked) == {loglines.SLICE}
    tail = (await api.client.get(path(attempt, "?tail=100"))).text.splitlines()
    assert [line[:3] for line in tail] == [f"{n:03d}" for n in range(110, 120)]


async def test_an_unknown_task_is_not_found(api: Api) -> None:
    """As everywhere."""
    problem(await api.client.get("/api/tasks/s1.abcdefghij/log"), 404, "not_found")
    problem(await api.client.get("/api/tasks/nothing/log"), 422, "invalid_id")


@pytest.mark.parametrize("query", ["format=xml", "tail=0", "tail=1001", "tail=x", "ansi=maybe", "format="])
async def test_a_wrong_query_is_refused(api: Api, query: str) -> None:
    """With what was expected."""
    task_id = await api.submit()
    problem(await api.client.get(f"/api/tasks/{task_id}/log?{query}"), 422, "invalid_request")


AGENTS = """
[agents.demo]
engine = "demo"
[agents.chat]
engine = "llm"
description = "Answers."
model = "anthropic:first"
models = ["second"]
instructions = "canary-instructions"
tools = ["read_file"]
limits = { tokens = 1000 }
[agents.chat.mcp.docs]
command = ["canary-command"]
env = { KEY = "canary-env" }
[agents.fixed]
engine = "llm"
[agents.job]
engine = "process"
command = ["canary-command"]
[agents.mine]
engine = "python"
entry = "canary_module:run"
options = { key = "canary-options" }
"""


class TestAgents:
    """GET /api/agents, and the models that a task may name."""

    @pytest.fixture
    def settings(self, redis_url: str, tmp_path: Path) -> ApiSettings:
        path = tmp_path / "agents.toml"
        path.write_text(AGENTS)
        return ApiSettings(redis_url=redis_url, agents_file=path)

    async def test_an_agent_tells_what_is_needed_to_choose_it(self, api: Api) -> None:
        """And nothing of how it is run."""
        answer = await api.client.get("/api/agents")
        assert "canary" not in answer.text
        agents = {agent["name"]: agent for agent in answer.json()["data"]}
        assert agents["chat"] == {
            "name": "chat",
            "engine": "llm",
            "description": "Answers.",
            "model": "anthropic:first",
            "models": ["anthropic:first", "second"],
            "tools": ["read_file"],
            "mcp": ["docs"],
            "read_only": False,
            "limits": {
                "iterations": 100,
                "tool_calls": 500,
                "tokens": 1000,
                "cost_usd": None,
                "wall_time_s": 3600.0,
            },
        }
        assert agents["job"]["tools"] == []
        assert "shell" in agents["mine"]["tools"]
        assert agents["fixed"]["models"] == []

    @pytest.mark.parametrize(
        ("agent", "model"),
        [("chat", "anthropic:first"), ("chat", "second"), ("chat", None), ("demo", "any"), ("mine", "any")],
    )
    async def test_a_model_that_the_agent_lists_is_accepted(self, api: Api, agent: str, model: str | None) -> None:
        """Agents of other engines are given the name as it is."""
        await api.submit(agent=agent, model=model)

    @pytest.mark.parametrize(
        ("agent", "model", "said", "models"),
        [
            ("chat", "third", "expected one of anthropic:first, second", ["anthropic:first", "second"]),
            ("chat", "first", "expected one of", ["anthropic:first", "second"]),
            ("fixed", "any", "leaves no choice", []),
        ],
    )
    async def test_another_model_is_refused(
        self, api: Api, agent: str, model: str, said: str, models: list[str]
    ) -> None:
        """With those that may be named; no task is made."""
        answer = await api.client.post("/api/tasks", json={"task": "x", "agent": agent, "model": model})
        document = problem(answer, 422, "unknown_model")
        assert said in document["detail"]
        assert document["models"] == models
        assert (await api.client.get("/api/tasks")).json()["data"] == []
