"""The engines' own rules: what the demo understands, what a script may hold."""

import json

import pytest
from redis.asyncio import Redis

from runcast_events.events import IterationStart, OutputStart
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_tasks.control import Control
from runcast_worker.engines.intents import plan
from tests.attempts import TENANT, claim, submit
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker


@pytest.mark.parametrize(
    ("prompt", "name", "first"),
    [
        ("count the lines of the Python files", "count", ("list_files", {"glob": "*.py"})),
        ("Please count all lines in *.md files!", "count", ("list_files", {"glob": "*.md"})),
        ("count lines", "count", ("list_files", {"glob": "*"})),
        ("list the files", "list", ("list_files", {})),
        ("read src/a.py", "read", ("read_file", {"path": "src/a.py"})),
        ("search for 'TODO: now'", "search", ("search", {"pattern": "TODO: now"})),
        ("run `ls -l | wc`", "run", ("shell", {"command": "ls -l | wc"})),
        ("write notes/a.txt: two\nlines", "write", ("write_file", {"path": "notes/a.txt", "content": "two\nlines"})),
        ("what is the weather?", "unknown", ("list_files", {"limit": 20})),
        ("", "unknown", ("list_files", {"limit": 20})),
    ],
)
def test_a_prompt_becomes_a_plan_of_tool_calls(prompt: str, name: str, first: tuple[str, dict[str, object]]) -> None:
    """The same one every time."""
    planned = plan(prompt)
    assert planned.name == name
    assert (planned.steps[0].tool, planned.steps[0].arguments) == first


async def test_the_demo_uses_real_tools_and_says_that_it_is_a_demo(client: Client, start_worker: StartWorker) -> None:
    """Every part is opened, grown with offsets in code points, and closed; the calls are `<iteration>.<index>`."""
    async with start_worker():
        task_id = await client.submit("write a.txt: grüße 🎉\nzwei", delay_ms=0)
        log = await client.ended(task_id)
    payloads = [json.loads(entry.payload) for entry in log]
    answer = payloads[-1]["final_answer"]
    assert "demo" in answer
    assert "grüße 🎉" in answer
    grown = ""
    for payload in payloads:
        if payload["event_type"] == "output":
            assert payload["offset"] == len(grown)
            grown += payload["delta"]
    assert grown == answer
    calls = [p["tool_call_id"] for p in payloads if p["event_type"] == "tool_call_start"]
    assert calls == ["1.0", "2.0"]
    assert payloads[-1]["usage"] == {"input": 0, "output": 0, "cached": 0, "cost_usd": None}
    assert "token_usage" not in {p["event_type"] for p in payloads}


async def test_the_demo_is_told_of_a_tools_error_and_says_so(client: Client, start_worker: StartWorker) -> None:
    """A read-only agent may not write; its task ends well all the same."""
    async with start_worker():
        task_id = await client.submit("write a.txt: text", agent="reader", delay_ms=0)
        log = await client.ended(task_id)
    called = next(json.loads(e.payload) for e in log if e.type == "tool_call_complete")
    assert called["error"]["code"] == "read_only"
    assert "read_only" in json.loads(log[-1].payload)["final_answer"]


async def test_a_demo_that_begins_anew_resets_what_it_had_told(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Its worker died in the second iteration: the parts that are open there are dropped by every reader."""
    log = EventLog(redis)
    task_id = await submit(log)
    dead = await claim(redis, lease_ttl_s=0.3)
    envelope = dead.envelope
    began = [envelope.encode(event) for event in (IterationStart(iteration=2), OutputStart(iteration=2, part_id="o2"))]
    await dead.append(log, dead.started(), *began)
    await redis.hset(dead.hold.keys.task(task_id), "iteration", "2")  # type: ignore[misc]
    await client.queue.expect(TENANT, task_id, after_s=0)
    async with start_worker(lease_ttl_s=0.6):
        history = await client.ended(task_id)
    told = [json.loads(entry.payload) for entry in history]
    assert [event["iteration"] for event in told if event["event_type"] == "iteration_reset"] == [1, 2]


async def test_a_script_plays_its_events_in_order(client: Client, start_worker: StartWorker) -> None:
    """What it leaves open the runner closes; the todos become the session's."""
    events = [
        {"event_type": "iteration_start", "iteration": 1},
        {"event_type": "todos_updated", "todos": [{"id": "1", "text": "play", "done": True}]},
        {"event_type": "output_start", "part_id": "1"},
        {"event_type": "output", "part_id": "1", "delta": "left open", "offset": 0, "delay_ms": 20},
    ]
    async with start_worker():
        log = await client.ended(await client.submit(agent="script", events=events))
    types = [entry.type for entry in log][3:]
    assert types == [
        *("task_started", "iteration_start", "todos_updated", "output_start", "output"),
        *("output_complete", "iteration_complete", "message_added", "task_complete"),
    ]
    todos = await client.redis.hget("runcast:{default:s1}:session", "todos")  # type: ignore[misc]
    assert json.loads(todos) == [{"id": "1", "text": "play", "done": True}]


async def test_a_script_makes_as_many_events_as_asked_for(client: Client, start_worker: StartWorker) -> None:
    """In one part, of the size asked for, at the rate asked for."""
    async with start_worker():
        task_id = await client.submit(agent="script", count=300, rate=1000, bytes=10)
        log = await client.ended(task_id)
    deltas = [json.loads(entry.payload)["delta"] for entry in log if entry.type == "output"]
    assert [len(delta) for delta in deltas] == [10] * 300
    outcome = (await client.record(task_id)).outcome
    assert outcome is not None
    assert outcome["final_answer"] == "".join(deltas)
    # 299 intervals of a millisecond: lateness is caught up, so neither much less nor a multiple.
    assert 295 <= int(str(outcome["duration_ms"])) < 900


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "expected either events or count"),
        ({"count": 1, "events": []}, "expected either events or count"),
        ({"count": 10_000_000}, "count"),
        ({"count": 1, "bytes": 1_000_000}, "bytes"),
        ({"count": 1, "speed": 1}, "speed"),
        ({"events": [{"event_type": "output_start", "part_id": "1"}, {"event_type": "ping"}]}, "params.events[1]"),
        ({"events": [{"event_type": "task_complete"}]}, "params.events[0]"),
        ({"events": [{"event_type": "output", "part_id": "1"}]}, "params.events[0]: output: delta"),
        ({"events": [{"event_type": "output_start", "part_id": "1", "delay_ms": -1}]}, "delay_ms"),
    ],
)
async def test_a_wrong_script_fails_its_task_and_says_where(
    client: Client, start_worker: StartWorker, params: dict[str, object], said: str
) -> None:
    """Before it plays anything."""
    async with start_worker():
        log = await client.ended(await client.submit(agent="script", **params))
    assert [entry.type for entry in log][3:] == ["task_started", "task_failed"]
    failed = json.loads(log[-1].payload)
    assert (failed["kind"], failed["retryable"]) == ("engine", False)
    assert said in failed["error"]


async def test_a_script_without_a_rate_does_not_starve_the_other_tasks(
    client: Client, start_worker: StartWorker
) -> None:
    """A task that is submitted while a million events pour out ends long before them."""
    async with start_worker():
        long = await client.submit(agent="script", count=1_000_000)
        await client.wrote("output")
        short = await client.submit("list the files", session_id="s2", delay_ms=0)
        await client.ended(short)
        assert await client.state(long) == "running"
        await Control(client.redis, client.log, Keyspace(), TENANT).cancel(long, "test")

        async def cancelled() -> bool:
            return await client.state(long) == "cancelled"

        await wait_until(cancelled)
