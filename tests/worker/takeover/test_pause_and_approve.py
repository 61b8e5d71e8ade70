"""A task that lets go on purpose: paused by somebody, or waiting for an approval. It holds no worker then, and goes on
where it was, on any worker."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runcast_events.errors import AlreadyTerminal, IllegalMove
from runcast_events.events import ApprovalResolved
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_local.model import Call, Stub, Turn, says
from runcast_tasks.control import Control
from runcast_tasks.errors import NotFound
from runcast_worker.deps import Deps
from runcast_worker.python import Say, Step, Task
from tests.attempts import TENANT, entries
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker
from tests.worker.takeover.reading import told

AGENTS = """
[agents.llm]
engine = "llm"
model = "mine"
tools = ["shell", "list_files"]

[agents.careful]
engine = "llm"
model = "mine"
tools = ["shell", "list_files"]
approve = ["shell"]

[agents.demo]
engine = "demo"
approve = ["shell"]
"""


@pytest.fixture
def agents(agents_file: Path) -> Path:
    agents_file.write_text(AGENTS)
    return agents_file


@pytest.fixture
async def deps(start_worker: StartWorker, agents: Path, base_url: str) -> AsyncIterator[Deps]:
    async with start_worker(llm_base_url=base_url) as deps:
        yield deps


@pytest.fixture
def control(redis: Redis) -> Control:
    return Control(redis, EventLog(redis), Keyspace(), TENANT)


async def reached(client: Client, task_id: str, state: str) -> list[dict[str, Any]]:
    """Wait for a state; returns the log's payloads."""

    async def there() -> bool:
        return await client.state(task_id) == state

    await wait_until(there, 15, f"not {state}")
    return [json.loads(entry.payload) for entry in await entries(client.redis, task_id.partition(".")[0])]


async def go_on(client: Client, task_id: str) -> None:
    """As the api rings."""
    await client.queue.expect(TENANT, task_id)
    await client.queue.ring(TENANT, task_id)


def approve(call_id: str, decision: str = "approved", **more: Any) -> ApprovalResolved:
    return ApprovalResolved.model_validate({"tool_call_id": call_id, "decision": decision, "by": "anna", **more})


async def test_a_running_task_pauses_between_two_iterations_and_goes_on_there(
    deps: Deps, client: Client, stub: Stub, control: Control, tmp_path: Path
) -> None:
    """It holds no lease meanwhile; nothing is asked or done again when it is resumed."""
    stub.scripts["mine"] = [
        Turn([Call("shell", {"command": "echo once >> made; sleep 0.5"})]),
        Turn(says("Done.")),
    ]
    task_id = await client.submit("go", agent="llm")
    await client.wrote("tool_call_start")
    assert await control.pause(task_id, "anna", "wait") == "running"
    events = await reached(client, task_id, "paused")
    assert [e["event_type"] for e in events[-2:]] == ["iteration_complete", "task_paused"]
    assert next(e for e in events if e["event_type"] == "task_pausing")["reason"] == "wait"
    assert not await client.redis.exists("runcast:{default:s1}:lease")
    assert await control.pause(task_id, "anna") == "paused"
    assert await control.resume(task_id, "anna") == "queued"
    await go_on(client, task_id)
    log = await client.ended(task_id)
    assert log[-1].type == "task_complete"
    assert len(stub.asked) == 2
    assert (tmp_path / "workspaces/default/s1/made").read_text() == "once\n"
    assert [e["iteration"] for e in told(log, "iteration_complete")] == [1, 2]


async def test_a_queued_task_is_paused_at_once_and_holds_its_session(
    client: Client, control: Control, deps: Deps
) -> None:
    """What waits behind it waits on."""
    deps.requeue.clear()
    running = await client.submit("run `sleep 1`", agent="demo", session_id="s2")
    first = await client.submit("list files", agent="demo", session_id="s2")
    assert await control.pause(first, "anna") == "paused"
    await control.cancel(running, "anna")
    assert await client.state(first) == "paused"
    assert await control.resume(first, "anna") == "queued"
    assert await control.resume(first, "anna") in ("queued", "running")
    await go_on(client, first)
    await client.ended(running, first)
    with pytest.raises(AlreadyTerminal):
        await control.pause(first, "anna")
    with pytest.raises(AlreadyTerminal):
        await control.resume(first, "anna")


async def test_a_call_waits_for_its_approval_while_the_others_are_made(
    deps: Deps, client: Client, stub: Stub, control: Control, tmp_path: Path
) -> None:
    """Two of three need one: each is asked for, one after the other, with its arguments. An approved call is made
    once, a rejected one never; the model is told of both, in the order of its calls."""
    stub.scripts["mine"] = [
        Turn(
            [
                Call("shell", {"command": "echo first >> made"}),
                Call("list_files", {}),
                Call("shell", {"command": "echo second >> made"}),
            ]
        ),
        Turn(says("Done.")),
    ]
    task_id = await client.submit("go", agent="careful")
    events = await reached(client, task_id, "waiting_approval")
    assert (events[-1]["tool_call_id"], events[-1]["arguments"]) == ("1.0", {"command": "echo first >> made"})
    assert [e["tool_call_id"] for e in events if e["event_type"] == "tool_call_complete"] == ["1.1"]
    assert not await client.redis.exists("runcast:{default:s1}:lease")
    with pytest.raises(NotFound):
        await control.decide(task_id, approve("1.2"))
    with pytest.raises(IllegalMove):
        await control.pause(task_id, "anna")
    assert await control.decide(task_id, approve("1.0", arguments={"command": "echo other >> made"})) == "queued"
    await go_on(client, task_id)

    async def second() -> bool:
        found = [
            e for e in await reached(client, task_id, "waiting_approval") if e["event_type"] == "approval_required"
        ]
        return found[-1]["tool_call_id"] == "1.2"

    await wait_until(second, 15)
    assert await control.decide(task_id, approve("1.2", "rejected"), "not today") == "queued"
    assert await control.decide(task_id, approve("1.2", "rejected")) in ("queued", "running", "complete")
    await go_on(client, task_id)
    log = await client.ended(task_id)
    assert (tmp_path / "workspaces/default/s1/made").read_text() == "other\n"
    results = [m["content"] for m in stub.asked[1].messages if m["role"] == "tool"]
    assert "not today" in results[2]
    assert "rejected" in results[2]
    assert len(stub.asked) == 2
    calls = Counter((e["event_type"], e["tool_call_id"]) for e in told(log, "tool_call_start", "tool_call_complete"))
    assert set(calls.values()) == {1}
    assert len(calls) == 6
    assert len(told(log, "iteration_complete")) == 2


async def test_an_engine_without_checkpoints_waits_too(deps: Deps, client: Client, control: Control) -> None:
    """It begins anew, and the approved call is made."""
    task_id = await client.submit("run `echo hello`", agent="demo")
    events = await reached(client, task_id, "waiting_approval")
    await control.decide(task_id, approve(events[-1]["tool_call_id"]))
    await go_on(client, task_id)
    log = await client.ended(task_id)
    assert "hello" in told(log, "task_complete")[0]["final_answer"]


async def test_a_task_that_waits_is_cancelled_at_once(deps: Deps, client: Client, control: Control) -> None:
    """Nobody runs it."""
    task_id = await client.submit("run `echo hello`", agent="demo")
    await reached(client, task_id, "waiting_approval")
    assert (await control.cancel(task_id, "anna")).state == "cancelled"
    with pytest.raises(AlreadyTerminal):
        await control.decide(task_id, approve("1.0"))


async def test_what_is_said_to_a_running_task_its_model_is_told(
    deps: Deps, client: Client, stub: Stub, control: Control
) -> None:
    """Before it is asked the next time; after an answer that would have been the last it is asked again. What was said
    is in the log, in the conversation, and told once."""
    stub.scripts["mine"] = [
        Turn([Call("shell", {"command": "sleep 0.5"})]),
        Turn([*says("I am done.")], pause_s=0.1),
        Turn(says("Now really.")),
    ]
    task_id = await client.submit("go", agent="llm")
    await client.wrote("tool_call_start")
    assert await control.say(task_id, "anna", "first") == "running"
    assert await control.say(task_id, "anna", "second") == "running"
    await client.wrote("output")
    await control.say(task_id, "anna", "third")
    log = await client.ended(task_id)
    assert told(log, "task_complete")[0]["final_answer"] == "Now really."
    said = [[m["content"] for m in asked.messages if m["role"] == "user"] for asked in stub.asked]
    assert said == [["go"], ["go", "first", "second"], ["go", "first", "second", "third"]]
    heard = [(e["role"], e["content"]) for e in told(log, "message_added")]
    assert heard == [
        ("user", "go"),
        ("user", "first"),
        ("user", "second"),
        ("user", "third"),
        ("assistant", "Now really."),
    ]
    with pytest.raises(AlreadyTerminal):
        await control.say(task_id, "anna", "too late")


async def careful(task: Task) -> AsyncIterator[Step]:
    """Takes every error of a tool, and says what came of it."""
    try:
        result = await task.call("shell", command="echo hello")
    except Exception as error:
        result = f"failed: {error}"
    yield Say(str(result))


async def test_a_function_of_a_python_agent_waits_too(
    start_worker: StartWorker, agents_file: Path, client: Client, control: Control
) -> None:
    """Whatever exceptions it takes. It begins anew, and the approved call is made."""
    entry = f"{careful.__module__}:careful"
    agents_file.write_text(f'[agents.mine]\nengine = "python"\nentry = "{entry}"\napprove = ["shell"]\n')  # noqa: ASYNC240
    async with start_worker():
        task_id = await client.submit("go", agent="mine")
        events = await reached(client, task_id, "waiting_approval")
        await control.decide(task_id, approve(events[-1]["tool_call_id"]))
        await go_on(client, task_id)
        log = await client.ended(task_id)
    assert "hello" in told(log, "task_complete")[0]["final_answer"]
