"""A worker is killed in the middle of a model's task: another goes on, and nothing that was acknowledged is done twice.

Workers are processes, ended with SIGKILL; the model is a stub that counts what it is asked.
"""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from runcast_local.model import Call, Stall, Stub, Turn, says
from runcast_worker.python import NextIteration, Say, Step, Task
from tests.conftest import wait_until
from tests.worker.conftest import Client
from tests.worker.takeover.reading import told
from tests.workers import worker_process

AGENTS = """
[agents.llm]
engine = "llm"
model = "mine"
tools = ["shell", "list_files"]
"""
PYTHON_AGENTS = f"""
[agents.mine]
engine = "python"
entry = "{__name__}:counting"
"""


async def counting(task: Task) -> AsyncIterator[Step]:
    """Four turns, each with a call; in the third the worker is killed."""
    begun = (task.checkpoint or {"turn": 0})["turn"]
    yield Say(f"I begin at {begun}. ")
    for turn in range(begun, 4):
        await task.call("shell", command=f"echo {turn} >> turns")
        if turn == 2 and task.attempt == 1:
            yield Say("Now it dies.")
            await asyncio.sleep(60)
        yield NextIteration(checkpoint={"turn": turn + 1})
    yield Say("Done.")


StartProcess = Callable[[], AbstractAsyncContextManager[tuple[asyncio.subprocess.Process, list[str]]]]


@pytest.fixture
def start_process(base_url: str, redis_url: str, agents_file: Path, tmp_path: Path) -> StartProcess:
    """A worker of its own; killed at the end of the block where it still runs."""
    agents_file.write_text(AGENTS)
    return lambda: worker_process(
        redis_url=redis_url,
        agents_file=agents_file,
        workspaces=tmp_path / "workspaces",
        lease_ttl_s=1,
        reap_every_s=0.2,
        llm_base_url=base_url,
    )


@contextlib.asynccontextmanager
async def killed(start: StartProcess, when: Callable[[], Any]) -> AsyncIterator[None]:
    """A worker that is killed as soon as `when` has returned."""
    async with start() as (process, _):
        await when()
        process.kill()
        await process.wait()
    yield


async def test_a_call_that_ended_is_not_made_again_and_one_that_had_begun_is_told_of(
    client: Client, stub: Stub, start_process: StartProcess, tmp_path: Path
) -> None:
    """Of two side by side one has ended when the worker dies. Nobody knows what the other has done: the model is told
    so. The model is asked no more often than without the crash."""
    ended, begun = "echo ended >> made; cat made", "echo begun >> made2; sleep 60"
    stub.scripts["mine"] = [
        Turn([*says("I call two."), Call("shell", {"command": ended}), Call("shell", {"command": begun})]),
        Turn(says("I see.")),
    ]
    task_id = await client.submit("go", agent="llm")
    made = tmp_path / "workspaces" / "default" / "s1" / "made2"

    async def half_done() -> None:
        await client.wrote("tool_call_complete")
        await wait_until(made.exists)

    async with killed(start_process, half_done), start_process():
        log = await client.ended(task_id, timeout_s=20)
    assert log[-1].type == "task_complete"
    assert [start["attempt"] for start in told(log, "task_started")] == [1, 2]
    assert (made.parent / "made").read_text() == "ended\n"
    assert made.read_text() == "begun\n"
    assert len(stub.asked) == 2
    results = [m["content"] for m in stub.asked[1].messages if m["role"] == "tool"]
    assert "ended" in results[0]
    assert "interrupted" in results[1]
    calls = Counter((entry["event_type"], entry["tool_call_id"]) for entry in told(log, *CALLS))
    assert calls == {(kind, call_id): 1 for kind in CALLS for call_id in ("1.0", "1.1")}
    assert Counter(told_type["event_type"] for told_type in told(log, "iteration_start")) == {"iteration_start": 2}


CALLS = ("tool_call_start", "tool_call_complete")


async def test_an_answer_that_was_not_whole_is_asked_for_again(
    client: Client, stub: Stub, start_process: StartProcess
) -> None:
    """What it had said is reset; the earlier iterations are not asked for again, and their calls not made."""
    stub.scripts["mine"] = [
        Turn([Call("shell", {"command": "echo once >> made"})]),
        Turn([*says("I begin"), Stall()]),
        Turn(says("The whole.")),
    ]
    task_id = await client.submit("go", agent="llm")
    async with killed(start_process, lambda: client.wrote("output")), start_process():
        log = await client.ended(task_id, timeout_s=20)
    assert told(log, "task_complete")[0]["final_answer"] == "The whole."
    assert len(stub.asked) == 3
    assert [(e["iteration"], e["attempt"]) for e in told(log, "iteration_reset")] == [(2, 2)]
    assert [e["tool_call_id"] for e in told(log, "tool_call_start")] == ["1.0"]
    parts = [part["part_id"] for part in told(log, "output_start")]
    assert len(parts) == len(set(parts)) == 2


async def test_a_call_that_changes_nothing_is_repeated(
    client: Client, stub: Stub, start_process: StartProcess, tmp_path: Path
) -> None:
    """Nobody is told that a look was interrupted. Its start is in the log once."""
    stub.scripts["mine"] = [
        Turn([Call("shell", {"command": "mkfifo pipe; cat pipe"}), Call("list_files", {})]),
        Turn(says("Looked.")),
    ]
    # The list waits for nothing: so its end is made to be lost, by a journal that has only its beginning.
    task_id = await client.submit("go", agent="llm")

    async def listed() -> None:
        await client.wrote("tool_call_complete")
        journal = f"runcast:{{default:s1}}:journal:{task_id}"
        entry = json.loads(await client.redis.hget(journal, "1.1"))  # type: ignore[arg-type,misc]
        await client.redis.hset(journal, "1.1", json.dumps(entry | {"complete": None}))  # type: ignore[misc]

    async with killed(start_process, listed), start_process():
        log = await client.ended(task_id, timeout_s=20)
    ends = {end["tool_call_id"]: end for end in told(log, "tool_call_complete") if end["attempt"] == 2}
    assert ends["1.0"]["error"]["code"] == "interrupted"
    assert "error" not in ends["1.1"]
    assert len(stub.asked) == 2


async def test_a_final_answer_is_not_asked_for_again(client: Client, stub: Stub, start_process: StartProcess) -> None:
    """The worker dies between the last iteration and the task's end: the next one only ends it."""
    stub.scripts["mine"] = [Turn(says("The answer."))]
    task_id = await client.submit("go", agent="llm")
    async with start_process():
        whole = await client.ended(task_id, timeout_s=20)
    assert whole[-1].type == "task_complete"
    assert len(stub.asked) == 1


async def test_usage_adds_up_over_attempts(client: Client, stub: Stub, start_process: StartProcess) -> None:
    """In the task's end and in its record."""
    stub.scripts["mine"] = [
        Turn([Call("shell", {"command": "true"})], input_tokens=100, output_tokens=10),
        Turn([*says("half"), Stall()]),
        Turn(says("Done."), input_tokens=200, output_tokens=20),
    ]
    task_id = await client.submit("go", agent="llm")
    async with killed(start_process, lambda: client.wrote("output")), start_process():
        log = await client.ended(task_id, timeout_s=20)
    usage = told(log, "task_complete")[0]["usage"]
    assert (usage["input"], usage["output"]) == (300, 30)
    assert (await client.record(task_id)).usage.input == 300


@pytest.mark.parametrize("deploys", [3, pytest.param(8, marks=[pytest.mark.full, pytest.mark.timeout(120)])])
async def test_deploys_in_a_row_cost_no_attempt_and_nothing_is_done_twice(
    client: Client, stub: Stub, start_process: StartProcess, tmp_path: Path, deploys: int
) -> None:
    """Each worker is told to end in the middle of an iteration: it goes to its end, and hands over there."""
    stub.scripts["mine"] = [
        *(Turn([Call("shell", {"command": f"echo {number} >> made; sleep 0.5"})]) for number in range(deploys)),
        Turn(says("Done.")),
    ]
    task_id = await client.submit("go", agent="llm")
    for deploy in range(deploys):
        async with start_process() as (process, _):
            await client.wrote("tool_call_start", count=deploy + 1)
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 20) == 0
    async with start_process():
        log = await client.ended(task_id, timeout_s=20)
    record = await client.record(task_id)
    assert (record.state, record.crashes) == ("complete", 0)
    assert {event["reason"] for event in told(log, "task_requeued")} == {"drain"}
    assert (tmp_path / "workspaces/default/s1/made").read_text().split() == [str(number) for number in range(deploys)]
    assert len(stub.asked) == deploys + 1
    calls = Counter(event["tool_call_id"] for event in told(log, "tool_call_complete"))
    assert set(calls.values()) == {1}
    assert len(calls) == deploys


async def test_a_python_agent_goes_on_from_its_checkpoint(
    client: Client, start_process: StartProcess, agents_file: Path, tmp_path: Path
) -> None:
    """The turns before it are not made again; of the one in which its worker died, the call that had ended is not."""
    agents_file.write_text(PYTHON_AGENTS)  # noqa: ASYNC240
    task_id = await client.submit("go", agent="mine")
    async with killed(start_process, lambda: client.wrote("output", count=2)), start_process():
        log = await client.ended(task_id, timeout_s=20)
    assert (tmp_path / "workspaces/default/s1/turns").read_text().split() == ["0", "1", "2", "3"]
    said = [event["content"] for event in told(log, "output_complete") if event["attempt"] == 2]
    assert said == ["I begin at 2. ", "Done."]
    assert [event["iteration"] for event in told(log, "iteration_reset")] == [3]
    parts = [event["part_id"] for event in told(log, "output_start")]
    assert len(parts) == len(set(parts))


async def test_the_journal_holds_no_more_than_the_iteration_that_runs(
    client: Client, stub: Stub, start_process: StartProcess
) -> None:
    """What a checkpoint has is taken out of it, so that a long task does not grow; a takeover still repeats nothing."""
    stub.scripts["mine"] = [
        *(Turn([Call("shell", {"command": f"echo {number} >> made"})]) for number in range(3)),
        Turn([*says("half"), Stall()]),
        Turn([Call("shell", {"command": "cat made"})]),
        Turn(says("Done.")),
    ]
    task_id = await client.submit("go", agent="llm")
    journal = f"runcast:{{default:s1}}:journal:{task_id}"
    async with killed(start_process, lambda: client.wrote("output")):
        assert await client.redis.hkeys(journal) == []  # type: ignore[misc]
    async with start_process():
        log = await client.ended(task_id, timeout_s=20)
    shown = [call["result"] for call in told(log, "tool_call_complete")][-1]
    assert shown["output"].split() == ["0", "1", "2"]
    assert len(stub.asked) == 6
