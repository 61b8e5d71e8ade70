"""The examples of agents of the python engine, run by a real worker against a stub of a model."""

import json
import os
import re
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import agents
import pytest
from langchain_core.tracers.langchain import wait_for_all_tracers

from runcast_events.keys import Keyspace
from runcast_local.model import Call, Refusal, Say, Stall, Stub, Turn, says, thinks
from runcast_tasks.control import Control
from tests.attempts import TENANT
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker, client, start_worker

__all__ = ["client", "start_worker"]

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = {"langgraph": "graph", "openai_agents": "crew"}


@pytest.fixture(params=NAMES)
def example(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def with_options(agents_file: Path, base_url: str, tmp_path: Path) -> Path:
    """The example's own with the options that it shows, and the stub's URL."""
    text = re.sub(r"^# (\[|model = |base_url = )", r"\1", agents_file.read_text(), flags=re.M)
    text, changed = re.subn(r'^base_url = ".*"$', f"base_url = {json.dumps(base_url)}", text, flags=re.M)
    assert changed == 1
    path = tmp_path / "options.toml"
    path.write_text(text)
    return path


@pytest.fixture
def agents_file(example: str, base_url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example's own, found and given its model as its README says."""
    monkeypatch.syspath_prepend(EXAMPLES / example)
    monkeypatch.setenv("RUNCAST_LLM_BASE_URL", base_url)
    monkeypatch.setenv("RUNCAST_LLM_MODEL", "mine")
    return EXAMPLES / example / "agents.toml"


async def play(client: Client, start_worker: StartWorker, example: str, *prompts: str) -> list[dict[str, Any]]:
    """The events of the last of these tasks of one session, from its start."""
    async with start_worker():
        for prompt in prompts:
            log = await client.ended(await client.submit(prompt, agent=NAMES[example]))
    events = [json.loads(entry.payload) for entry in log]
    begins = [i for i, event in enumerate(events) if event["event_type"] == "task_started"]
    return events[begins[-1] :]


def of_type(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event_type"] == kind]


async def test_an_example_thinks_speaks_and_uses_tools(
    client: Client, start_worker: StartWorker, example: str, stub: Stub
) -> None:
    """Delta by delta; two calls at a time, ours; the second turn has their results; usage of both."""
    stub.scripts["mine"] = [
        Turn(
            [
                *thinks("I should look."),
                *says("Let me look. "),
                Call("shell", {"command": "echo $((6 * 7)) | tee b.txt"}),
                Call("read_file", {"path": "none.txt"}),
            ],
            input_tokens=100,
            output_tokens=20,
            cached_tokens=10,
        ),
        Turn(says("It is forty-two."), input_tokens=150, output_tokens=5, cached_tokens=0),
    ]
    events = await play(client, start_worker, example, "What is 6 times 7?")
    assert events[-1]["event_type"] == "task_complete", events[-1]
    assert events[-1]["final_answer"] == "It is forty-two."
    assert events[-1]["total_iterations"] == 2
    assert events[-1]["usage"] == {"input": 250, "output": 25, "cached": 10, "cost_usd": None}
    assert [e["content"] for e in of_type(events, "think_complete")] == ["I should look."]
    assert [e["content"] for e in of_type(events, "output_complete")] == ["Let me look. ", "It is forty-two."]
    assert len(of_type(events, "output")) >= 5
    calls = {e["tool_name"]: e for e in of_type(events, "tool_call_complete")}
    assert sorted(e["tool_call_id"] for e in calls.values()) == ["1.0", "1.1"]
    assert calls["shell"]["result"]["exit_code"] == 0
    assert calls["read_file"]["error"]["code"] == "not_found"
    first, second = stub.asked
    assert set(first.tools) >= {"list_files", "read_file", "search", "shell"}
    assert first.tools["shell"]["properties"]["command"]["type"] == "string"
    assert "42" in second.results[0]
    assert "not_found" in second.results[1]


async def test_the_task_of_an_examples_readme_does_with_the_stub(
    client: Client, start_worker: StartWorker, example: str, stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the empty folder of a new session: every call that it names succeeds."""
    monkeypatch.setenv("RUNCAST_LLM_MODEL", "stub")
    readme = (EXAMPLES / example / "README.md").read_text()
    (body,) = re.findall(r"-d '(.*)'$", readme, re.M)
    prompt = json.loads(body)["task"]
    events = await play(client, start_worker, example, prompt)
    assert events[-1]["event_type"] == "task_complete", events[-1]
    calls = {e["tool_name"]: e for e in of_type(events, "tool_call_complete")}
    assert calls.keys() == {word for word in prompt.split() if word in stub.asked[0].tools}
    assert not [e["error"] for e in calls.values() if e.get("error")]
    assert calls["shell"]["result"]["exit_code"] == 0
    assert "count_words" not in calls or calls["count_words"]["result"] in (6, "6")


async def test_an_examples_options_win(
    client: Client,
    start_worker: StartWorker,
    example: str,
    stub: Stub,
    with_options: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Over the environment."""
    monkeypatch.setenv("RUNCAST_LLM_BASE_URL", "http://127.0.0.1:9/v1")
    stub.scripts["gpt-4.1-mini"] = [Turn([Say("Hello.")])]
    events = await play(client, partial(start_worker, agents_file=with_options), example, "Hello")
    assert events[-1]["event_type"] == "task_complete", events[-1]
    assert stub.asked[0].model == "gpt-4.1-mini"


async def test_an_example_without_a_model_says_how_to_give_it_one(
    client: Client, start_worker: StartWorker, example: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the variable that llm agents take it from."""
    monkeypatch.delenv("RUNCAST_LLM_MODEL")
    events = await play(client, start_worker, example, "Hello")
    assert (events[-1]["event_type"], events[-1]["kind"]) == ("task_failed", "engine")
    assert "RUNCAST_LLM_MODEL" in events[-1]["error"]


async def test_an_example_knows_what_was_said_before(
    client: Client, start_worker: StartWorker, example: str, stub: Stub
) -> None:
    """In the session's earlier tasks."""
    stub.scripts["mine"] = [Turn([Say("Hello Ada.")]), Turn([Say("Ada.")])]
    events = await play(client, start_worker, example, "I am Ada.", "Who am I?")
    assert events[-1]["final_answer"] == "Ada."
    said = [(message["role"], message["content"]) for message in stub.asked[-1].messages]
    assert said[-3:] == [("user", "I am Ada."), ("assistant", "Hello Ada."), ("user", "Who am I?")]


async def test_an_examples_model_that_refuses_fails_the_task(
    client: Client, start_worker: StartWorker, example: str, stub: Stub
) -> None:
    """With the provider's sentence."""
    stub.scripts["mine"] = lambda _: Refusal(400, "the moon is not full")
    events = await play(client, start_worker, example, "Hello")
    assert (events[-1]["event_type"], events[-1]["kind"]) == ("task_failed", "engine")
    assert "the moon is not full" in events[-1]["error"]


async def test_cancelling_an_example_closes_the_models_stream(
    client: Client, start_worker: StartWorker, example: str, stub: Stub
) -> None:
    """The provider sees that nobody reads any more."""
    stub.scripts["mine"] = [Turn([Say("one "), Stall()])]
    async with start_worker():
        task_id = await client.submit("Go on for ever.", agent=NAMES[example])
        await client.wrote("output")
        await Control(client.redis, client.log, Keyspace(), TENANT).cancel(task_id, "test", None)
        log = await client.ended(task_id)
        await wait_until(lambda: stub.asked[0].left_at is not None)
    assert log[-1].type == "task_cancelled"


@pytest.mark.parametrize("example", ["openai_agents"], indirect=True)
async def test_a_tool_of_the_frameworks_own_is_reported(
    client: Client, start_worker: StartWorker, example: str, stub: Stub
) -> None:
    """With the framework's id beside ours."""
    stub.scripts["mine"] = [Turn([Call("count_words", {"text": "a b c"}, id="call-7")]), Turn([Say("Three.")])]
    events = await play(client, start_worker, example, "How many words?")
    (start,), (complete,) = of_type(events, "tool_call_start"), of_type(events, "tool_call_complete")
    assert (start["tool_call_id"], start["tool_name"], start["provider_id"]) == ("1.0", "count_words", "call-7")
    assert start["arguments"] == {"text": "a b c"}
    assert complete["result"] in (3, "3")
    assert events[-1]["final_answer"] == "Three."


CONNECTED: list[str] = []
LISTENING = [False]


@pytest.fixture
def connected() -> Iterator[list[str]]:
    """What this process looks up and connects to, as host names and addresses."""
    CONNECTED.clear()
    LISTENING[0] = True
    yield CONNECTED
    LISTENING[0] = False


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if LISTENING[0] and event in ("socket.connect", "socket.getaddrinfo"):
        address = arguments[1] if event == "socket.connect" else arguments
        CONNECTED.append(str(address[0]))


sys.addaudithook(_listen)


async def test_an_example_does_not_phone_home(
    client: Client,
    start_worker: StartWorker,
    example: str,
    stub: Stub,
    connected: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Not even where the environment asks for traces: nothing but the model and the store is connected to."""
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "true")
    for name in ("LANGSMITH_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, "key-of-nothing")
    stub.scripts["mine"] = [Turn([Say("Hello.")])]
    events = await play(client, start_worker, example, "Hello")
    assert events[-1]["event_type"] == "task_complete"
    wait_for_all_tracers()
    agents.flush_traces()
    assert connected
    assert not {name for name in connected if name not in ("127.0.0.1", "localhost", "::1")} - _paths(connected)


def _paths(names: list[str]) -> set[str]:
    """Sockets of this machine."""
    return {name for name in names if name.startswith(os.sep)}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_explained(name: str) -> None:
    """A README in some twenty lines, which says how the module is found and that it needs no account."""
    text = (EXAMPLES / name / "README.md").read_text()
    assert len(text.splitlines()) <= 40
    assert "PYTHONPATH" in text
    assert "RUNCAST_AGENTS_FILE" in text
    assert "make model" in text
