"""Python agents: a function of somebody else's, run by a real worker."""

import asyncio
import json
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from runcast_agents import InvalidAgents
from runcast_events.keys import Keyspace
from runcast_tasks.control import Control
from runcast_worker.engines.python import PythonEngine, python_engine
from runcast_worker.engines.python.entry import WrongEntry, load_entry
from runcast_worker.engines.python.standstill import StandstillWatch
from runcast_worker.python import EngineError, NextIteration, Say, Step, Task, ToolFailed, Used
from tests.attempts import TENANT
from tests.conftest import wait_until
from tests.worker.conftest import Client, StartWorker

ENTRY = "tests.worker.engines.test_python:echo"
SEEN: dict[str, Any] = {}


async def echo(task: Task) -> AsyncIterator[Step]:
    """Says what it was given."""
    said = [f"{message.role}: {message.content}" for message in await task.conversation()]
    yield Say(json.dumps({"prompt": task.prompt, "said": said, "params": dict(task.params), **task.options}))


async def tools(task: Task) -> AsyncIterator[Step]:
    """Calls our tools one after the other, side by side, and wrongly."""
    SEEN["offers"] = {offer.name: offer.parameters for offer in task.tools}
    yield Say("I look. ")
    await task.call("write_file", path="a.txt", content="one\ntwo\n")
    yield NextIteration()
    listed, output = await asyncio.gather(
        task.call("list_files"), task.call("shell", command="echo loud; echo $((6 * 7))")
    )
    SEEN["listed"], SEEN["output"] = listed, output
    try:
        await task.call("read_file", path="../../etc/passwd")
    except ToolFailed as failed:
        SEEN["failed"] = failed.code
    await task.tell(Say("told "))
    yield Say(f"done in {task.workspace.name}")
    yield Used("m", input=10, output=2, cost_usd=0.25)


async def raises(task: Task) -> AsyncIterator[Step]:
    yield Say("so far ")
    raise ZeroDivisionError(f"secret {task.params.get('secret')}")


async def gives_up(_: Task) -> AsyncIterator[Step]:
    yield Say("x")
    raise EngineError("the moon is not full", "moon", retryable=True)


async def leaves(_: Task) -> AsyncIterator[Step]:
    yield Say("x")
    sys.exit(3)


async def wrong(_: Task) -> AsyncIterator[Step]:
    yield Say("x")
    yield {"event_type": "output"}  # type: ignore[misc]


async def cancels_itself(_: Task) -> AsyncIterator[Step]:
    yield Say("x")
    raise asyncio.CancelledError


async def waits(_: Task) -> AsyncIterator[Step]:
    try:
        yield Say("waiting")
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        SEEN["cleaned"] = True


async def swallows(task: Task) -> AsyncIterator[Step]:
    """Goes on after its cancellation, and goes on telling, until the test lets it end."""
    SEEN["swallower"] = asyncio.Event()
    yield Say("waiting")
    while not SEEN["swallower"].is_set():
        try:
            await SEEN["swallower"].wait()
        except asyncio.CancelledError:
            SEEN["swallowed"] = True
    SEEN["after"] = True
    yield Say("too late")


async def shells(task: Task) -> AsyncIterator[Step]:
    yield Say("x")
    await task.call("shell", command="echo up; sleep 300")


async def blocks(_: Task) -> AsyncIterator[Step]:
    yield Say("x")
    time.sleep(1.2)  # noqa: ASYNC251


async def floods(_: Task) -> AsyncIterator[Step]:
    for number in range(3000):
        yield Say(f"{number} ")


NAMES = [
    *("echo", "tools", "raises", "gives_up", "leaves", "wrong", "cancels_itself", "waits", "swallows", "shells"),
    "floods",
    "blocks",
]


@pytest.fixture
def agents_file(tmp_path: Path) -> Path:
    """An agent for each function here."""
    path = tmp_path / "agents.toml"
    tables = [
        f'[agents.{name}]\nengine = "python"\nentry = "tests.worker.engines.test_python:{name}"' for name in NAMES
    ]
    path.write_text("\n".join([tables[0], 'options = { colour = "blue" }', *tables[1:]]))
    return path


@pytest.fixture(autouse=True)
def seen() -> dict[str, Any]:
    SEEN.clear()
    return SEEN


async def play(client: Client, start_worker: StartWorker, agent: str, **params: Any) -> list[dict[str, Any]]:
    """The events of one task, from its start."""
    async with start_worker():
        log = [json.loads(e.payload) for e in await client.ended(await client.submit("do it", agent=agent, **params))]
    return log[next(i for i, event in enumerate(log) if event["event_type"] == "task_started") :]


async def test_a_function_is_given_its_task(client: Client, start_worker: StartWorker) -> None:
    """The prompt, the request's params, the agent's options, and what was said before."""
    async with start_worker():
        await client.ended(await client.submit("first", agent="echo"))
        log = await client.ended(await client.submit("second", agent="echo", depth=3))
    answer = json.loads(json.loads(log[-1].payload)["final_answer"])
    assert (answer["prompt"], answer["params"], answer["colour"]) == ("second", {"depth": 3}, "blue")
    assert [each.partition(":")[0] for each in answer["said"]] == ["user", "assistant"]
    assert answer["said"][0] == "user: first"


async def test_a_function_uses_our_tools(client: Client, start_worker: StartWorker, seen: dict[str, Any]) -> None:
    """In the sandbox and in the log, each call told from start to end, without a word of the function."""
    events = await play(client, start_worker, "tools")
    assert events[-1]["event_type"] == "task_complete"
    assert events[-1]["final_answer"].startswith("told done in ")
    assert events[-1]["total_iterations"] == 2
    assert events[-1]["usage"] == {"input": 10, "output": 2, "cached": 0, "cost_usd": 0.25}
    starts = {e["tool_call_id"]: e["tool_name"] for e in events if e["event_type"] == "tool_call_start"}
    assert set(starts) == {"1.0", "2.0", "2.1", "2.2"}
    assert (starts["1.0"], starts["2.2"]) == ("write_file", "read_file")
    assert {starts["2.0"], starts["2.1"]} == {"list_files", "shell"}
    assert sum(e["event_type"] == "tool_call_complete" for e in events) == 4
    assert "42" in "".join(e["chunk"] for e in events if e["event_type"] == "tool_call_stream")
    assert seen["listed"]["files"] == ["a.txt"]
    assert seen["output"]["exit_code"] == 0
    assert seen["failed"]
    assert seen["offers"]["shell"]["properties"]["command"]["type"] == "string"
    kinds = [e["event_type"] for e in events]
    assert kinds[:4] == ["task_started", "iteration_start", "output_start", "output"]
    assert kinds[4:6] == ["output_complete", "tool_call_start"]


async def test_thousands_of_steps_arrive_in_order(client: Client, start_worker: StartWorker) -> None:
    """However fast they are yielded."""
    events = await play(client, start_worker, "floods")
    deltas = [e["delta"] for e in events if e["event_type"] == "output"]
    assert deltas == [f"{number} " for number in range(3000)]


@pytest.mark.parametrize(
    ("agent", "kind", "said", "retryable"),
    [
        ("raises", "engine", "tests.worker.engines.test_python:raises failed: ZeroDivisionError: secret", False),
        ("gives_up", "moon", "the moon is not full", True),
        ("leaves", "engine", "it called exit(3)", False),
        ("wrong", "engine", "yielded {'event_type': 'output'}: expected one of", False),
        ("cancels_itself", "engine", "cancelled itself", False),
    ],
)
async def test_a_function_that_fails_fails_its_task(
    client: Client, start_worker: StartWorker, agent: str, kind: str, said: str, retryable: bool
) -> None:
    """With what it said but not where in its code; what it had told is told, and closed."""
    events = await play(client, start_worker, agent)
    failed = events[-1]
    assert (failed["event_type"], failed["kind"], failed["retryable"]) == ("task_failed", kind, retryable)
    assert said in failed["error"]
    assert "Traceback" not in failed["error"]
    assert [e["event_type"] for e in events[-4:-1]] == ["output", "output_complete", "iteration_complete"]


async def test_the_traceback_is_logged(
    client: Client, start_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """For whoever runs the worker."""
    await play(client, start_worker, "raises")
    (record,) = (r for r in caplog.records if "agent function" in r.getMessage())
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


async def test_cancelling_reaches_the_function(client: Client, start_worker: StartWorker, seen: dict[str, Any]) -> None:
    """It may clean up; then the task has ended."""
    async with start_worker():
        task_id = await client.submit(agent="waits")
        await client.wrote("output")
        await Control(client.redis, client.log, Keyspace(), TENANT).cancel(task_id, "test", None)
        log = await client.ended(task_id)
    assert log[-1].type == "task_cancelled"
    assert seen["cleaned"]


async def test_a_function_that_swallows_its_cancellation_is_left_to_itself(
    client: Client, start_worker: StartWorker, seen: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The task ends without it, and nothing of what it tells later is told."""
    engine = PythonEngine({f"tests.worker.engines.test_python:{swallows.__name__}": swallows}, stop_s=0.2)  # type: ignore[dict-item]
    async with start_worker(engines={"python": engine}):
        task_id = await client.submit(agent="swallows")
        await client.wrote("output")
        await Control(client.redis, client.log, Keyspace(), TENANT).cancel(task_id, "test", None)
        await client.ended(task_id)
        assert seen["swallowed"]
        seen["swallower"].set()
        await wait_until(lambda: "after" in seen)
        log = await client.ended(task_id)
    assert log[-1].type == "task_cancelled"
    assert "too late" not in str([e.payload for e in log])
    assert any("left to itself" in record.getMessage() for record in caplog.records)


async def test_cancelling_ends_a_tool_that_a_function_waits_for(client: Client, start_worker: StartWorker) -> None:
    """Its call is closed in the log."""
    async with start_worker():
        task_id = await client.submit(agent="shells")
        await client.wrote("tool_call_stream")
        await Control(client.redis, client.log, Keyspace(), TENANT).cancel(task_id, "test", None)
        log = await client.ended(task_id)
    assert [e.type for e in log][-4:] == [
        *("task_cancelling", "tool_call_complete", "iteration_complete", "task_cancelled"),
    ]


async def test_a_function_that_blocks_is_found(
    client: Client, start_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    """The line that holds up the whole worker is logged while it does; a function that only waits is not blamed."""
    engine = PythonEngine({f"{__name__}:{each.__name__}": each for each in (blocks, echo)})  # type: ignore[misc]
    engine._watch = StandstillWatch(long_s=0.4)
    async with start_worker(engines={"python": engine}):
        await client.ended(await client.submit(agent="echo"))
        assert not _standstills(caplog)
        await client.ended(await client.submit(agent="blocks", session_id="s2"))
    (said,) = _standstills(caplog)
    assert "time.sleep(1.2)" in said


def _standstills(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "stands still" in record.getMessage()]


MODULE = """
    import asyncio
    number = 1
    def plain(task): return []
    async def coroutine(task): return []
    async def nothing():
        yield
    async def two(task, more):
        yield
"""


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("no_such_module_here:run", "no module 'no_such_module_here': expected an installed package"),
        ("agent_module.sub:run", "no module 'agent_module.sub'"),
        ("agent_module:missing", "has no 'missing'"),
        ("agent_module:number", "no async generator function"),
        ("agent_module:plain", "no async generator function"),
        ("agent_module:coroutine", "no async generator function; expected `async def coroutine"),
        ("agent_module:nothing", "cannot be called with the task alone"),
        ("agent_module:two", "cannot be called with the task alone: missing a required argument: 'more'"),
        ("agent_broken:run", "agent_broken cannot be imported: NameError: name 'oops'"),
        ("agent_leaves:run", "agent_leaves cannot be imported: SystemExit: bye"),
        ("agent_needs:run", "agent_needs needs the module 'no_such_dependency'"),
    ],
)
def test_a_wrong_entry_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entry: str, said: str) -> None:
    """When the worker starts, with the line in the agents file and what was expected."""
    (tmp_path / "agent_module.py").write_text(textwrap.dedent(MODULE))
    (tmp_path / "agent_broken.py").write_text("oops")
    (tmp_path / "agent_leaves.py").write_text("raise SystemExit('bye')")
    (tmp_path / "agent_needs.py").write_text("import no_such_dependency")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("agent_module", "agent_broken", "agent_leaves", "agent_needs"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    with pytest.raises(WrongEntry) as wrong:
        load_entry(entry)
    assert said in str(wrong.value)
    path = tmp_path / "agents.toml"
    path.write_text(f'[agents.mine]\nengine = "python"\n\nentry = "{entry}"\n')
    with pytest.raises(InvalidAgents) as invalid:
        python_engine(path)
    assert str(invalid.value).startswith(f"{path}, line 4: agents.mine.entry: ")


def test_the_folder_of_the_agents_file_is_not_searched(tmp_path: Path) -> None:
    """What is imported is what PYTHONPATH and the installed packages say."""
    (tmp_path / "beside_the_file.py").write_text("async def run(task):\n    yield\n")
    path = tmp_path / "agents.toml"
    path.write_text('[agents.mine]\nengine = "python"\nentry = "beside_the_file:run"\n')
    with pytest.raises(InvalidAgents, match="PYTHONPATH"):
        python_engine(path)


def test_an_entry_is_imported_once(tmp_path: Path) -> None:
    """Two agents may share a function, each with its own options."""
    path = tmp_path / "agents.toml"
    path.write_text("".join(f'[agents.{name}]\nengine = "python"\nentry = "{ENTRY}"\n' for name in ("a", "b")))
    assert python_engine(path)._functions.keys() == {ENTRY}
