"""The moments in which one attempt ends and another goes on: nothing is lost in them, and nothing comes twice."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from runcast_events.events import ApprovalRequired, ApprovalResolved, TaskPaused
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_local.model import Call, Stub, Turn, says
from runcast_tasks.control import Control, Requests
from runcast_tasks.inputs import Input, Inputs
from runcast_worker.engines import EngineTask, Saved
from runcast_worker.engines.llm.engine import _hear
from runcast_worker.engines.llm.history import History
from runcast_worker.engines.llm.outbox import Outbox
from runcast_worker.python import Say, Step, Task
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.toolbox.approvals import Approvals
from runcast_worker.toolbox.journal import Journal, required_writes
from tests.attempts import TENANT, claim, submit
from tests.worker.conftest import Client, StartWorker
from tests.worker.takeover.reading import told

AGENTS = """
[agents.llm]
engine = "llm"
model = "mine"
tools = ["shell"]
idempotent_tools = ["shell"]
"""


@pytest.fixture
def llm_agents(agents_file: Path) -> None:
    agents_file.write_text(AGENTS)


@pytest.fixture
def control(redis: Redis) -> Control:
    return Control(redis, EventLog(redis), Keyspace(), TENANT)


@pytest.mark.usefixtures("llm_agents")
async def test_an_answer_that_is_in_the_log_is_the_answer_whoever_ends_the_task(
    client: Client, start_worker: StartWorker, stub: Stub, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker is told to go after the last iteration, before the end. The next one asks and tells nothing again."""
    stub.scripts["mine"] = [Turn(says("The answer."))]
    looked, stays, read = asyncio.Event(), asyncio.Event(), Inputs.read

    async def slow(self: Inputs, *, last: bool = False) -> list[Input]:
        if stub.asked and not stays.is_set():
            looked.set()
            await stays.wait()
        return await read(self, last=last)

    monkeypatch.setattr(Inputs, "read", slow)
    async with start_worker(llm_base_url=base_url):
        task_id = await client.submit("go", agent="llm")
        await looked.wait()
        await client.wrote("iteration_complete")
    stays.set()
    async with start_worker(llm_base_url=base_url):
        log = await client.ended(task_id)
    (end,) = told(log, "task_complete")
    assert (end["final_answer"], end["total_iterations"]) == ("The answer.", 1)
    assert [event["role"] for event in told(log, "message_added")] == ["user", "assistant"]
    assert len(stub.asked) == len(told(log, "iteration_complete")) == len(told(log, "output_complete")) == 1


@pytest.mark.usefixtures("llm_agents")
async def test_a_deploy_treats_a_call_as_a_crash_does(
    client: Client, start_worker: StartWorker, stub: Stub, base_url: str
) -> None:
    """What is stopped in its middle is closed in the log, and not taken for ended: an idempotent one is made again."""
    stub.scripts["mine"] = [Turn([Call("shell", {"command": "sleep 1; echo hi"})]), Turn(says("Done."))]
    async with start_worker(llm_base_url=base_url, drain_s=0):
        task_id = await client.submit("go", agent="llm")
        await client.wrote("tool_call_start")
    async with start_worker(llm_base_url=base_url):
        log = await client.ended(task_id)
    ends = [(event["attempt"], "error" in event) for event in told(log, "tool_call_complete")]
    assert ends == [(1, True), (2, False)]
    assert [event["iteration"] for event in told(log, "iteration_complete")] == [1, 2]
    assert len(stub.asked) == 2


async def test_what_is_heard_is_in_the_checkpoint_that_goes_with_it_and_nothing_more() -> None:
    """Two things were said; the worker dies between the two: the second is heard by the next one, once."""
    outbox, waiting = Outbox(), [Input("input:1", "anna", "one"), Input("input:2", "anna", "two")]
    history = History("", [], "go")

    class Said:
        async def inputs(self, *, last: bool = False) -> list[Input]:
            return waiting

    task: EngineTask = Said()  # type: ignore[assignment]
    hearing = asyncio.create_task(_hear(task, history, outbox))
    step = await anext(outbox.events())
    assert isinstance(step, Saved)
    hearing.cancel()
    waiting.pop(0)
    taken_over, outbox = History.load("", [], "go", step.checkpoint), Outbox()
    hearing = asyncio.create_task(_hear(task, taken_over, outbox))
    hearing.add_done_callback(lambda _: outbox.close())
    assert len([step async for step in outbox.events()]) == 1
    assert [part.content for message in taken_over.messages for part in message.parts] == ["go", "one", "two"]


def test_a_checkpoint_of_another_kind_is_left_alone() -> None:
    """An agent was given another engine meanwhile: its task begins anew."""
    for checkpoint in (b"[]", b'{"iteration": 1, "checkpoint": {}}', b"not JSON"):
        assert History.load("", [], "go", checkpoint).answers == 0


@pytest.mark.parametrize("arguments", [{}, {"glob": "*.py"}])
def test_an_approval_is_for_the_call_that_it_was_asked_for(arguments: dict[str, str]) -> None:
    """With the arguments that it names, none if it names none; another call of the same number is asked for anew."""
    ours = ApprovalRequired(tool_call_id="1.0", tool_name="list_files", arguments={"glob": "secret/*"}, reason="")
    decision = ApprovalResolved(tool_call_id="1.0", decision="approved", by="anna", arguments=dict(arguments))
    asked = {write.field: json.loads(write.value) for write in required_writes(ours) if write.kind == "journal"}
    approvals = Approvals(["list_files"], Journal({**asked, "approval:1.0": decision.model_dump()}), Redactor)
    assert approvals.decided(1, 0, "list_files", {"glob": "secret/*"}) == (arguments, None)
    assert approvals.required(1, 0, "list_files", {"glob": "secret/*"}) is None
    assert approvals.required(1, 0, "list_files", {"glob": "other/*"}) is not None


async def changing(task: Task) -> AsyncIterator[Step]:
    """Makes another call in each attempt."""
    yield Say(str(await task.call("shell", command=f"echo attempt {task.attempt}")))


async def test_a_call_that_nobody_approved_is_not_made(
    start_worker: StartWorker, agents_file: Path, client: Client, control: Control
) -> None:
    """A function that begins anew makes another call under the same number: it is asked for as well."""
    entry = f"{changing.__module__}:changing"
    agents_file.write_text(f'[agents.mine]\nengine = "python"\nentry = "{entry}"\napprove = ["shell"]\n')  # noqa: ASYNC240
    async with start_worker():
        task_id = await client.submit("go", agent="mine")
        await client.wrote("approval_required")
        approved = ApprovalResolved(tool_call_id="1.0", decision="approved", by="anna")
        await control.decide(task_id, approved)
        await client.queue.ring(TENANT, task_id)
        await client.wrote("approval_required", count=2)
        await control.cancel(task_id, "anna")
        log = await client.ended(task_id)
    assert not told(log, "tool_call_start")


async def test_a_cancel_that_comes_as_the_task_lets_go_is_not_lost(
    client: Client, start_worker: StartWorker, redis: Redis, control: Control
) -> None:
    """It was accepted while the task ran; the next event of the attempt was that it pauses."""
    task_id = await submit(client.log)
    attempt = await claim(redis)
    await attempt.append(client.log, attempt.started())
    assert (await control.cancel(task_id, "anna")).state == "running"
    await attempt.append(client.log, attempt.envelope.encode(TaskPaused(by="bob")))
    await client.queue.expect(TENANT, task_id, after_s=0)
    async with start_worker():
        log = await client.ended(task_id)
    assert told(log, "task_cancelled")[0]["by"] == "anna"


@pytest.mark.usefixtures("llm_agents")
async def test_a_resume_takes_a_pause_back(
    client: Client, start_worker: StartWorker, stub: Stub, base_url: str, control: Control
) -> None:
    """The last word counts."""
    stub.scripts["mine"] = [Turn([Call("shell", {"command": "sleep 1"})]), Turn(says("Done."))]
    async with start_worker(llm_base_url=base_url):
        task_id = await client.submit("go", agent="llm")
        await client.wrote("tool_call_start")
        assert await control.pause(task_id, "anna") == "running"
        await client.wrote("task_pausing")
        assert await control.resume(task_id, "bob") == "running"
        log = await client.ended(task_id)
    assert log[-1].type == "task_complete"
    assert not told(log, "task_paused")


async def test_long_inputs_are_not_read_with_every_look(redis: Redis, control: Control, client: Client) -> None:
    """They wait beside the orders until a model is asked."""
    task_id = await submit(client.log)
    attempt = await claim(redis)
    await attempt.append(client.log, attempt.started())
    await control.say(task_id, "anna", "x" * 100_000)
    requests = Requests(redis, Keyspace().session(TENANT, "s1"), task_id)
    assert await requests.orders() == {}
    assert [len(said.text) for said in await Inputs(redis, attempt.hold).read()] == [100_000]
    await attempt.append(client.log, attempt.complete())
