"""Cancel, wherever a task may hang: it ends at once, nothing of it is left, and its worker goes on."""

import json
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import pytest
import pytest_asyncio

from tests.commands.plant import Plant, planted
from tests.conftest import wait_until
from tests.loglines import bad
from tests.worker.processes import alive, new_mark
from tests.worker.sandbox.machine import TIERS, remains

END_S, END_IN_TOOL_S, LEFT_S = 2.0, 10.0, 5.0
"""What is guaranteed: from the cancel to the end, outside and inside a tool; from the end to the last process's."""
OWN_SESSION = "trap '' TERM; setsid sh -c 'trap \"\" TERM HUP; sleep {mark}; sleep 600' & sleep {mark}"
DAEMON = "(setsid sh -c 'trap \"\" TERM HUP; sleep {mark}; sleep 600' >/dev/null 2>&1 </dev/null &); sleep {mark}"
FLOOD = "sh -c 'while :; do echo x; sleep 0.01; done' sh {mark}"
LARGE = "x" * 200_000


def left(plant: Plant) -> bool:
    """Every client of the pages has closed its connection."""
    return plant.pages.left == plant.pages.got


def waits(plant: Plant) -> bool:
    return plant.pages.got != plant.pages.left


def began(plant: Plant) -> bool:
    return plant.folder.joinpath("began").exists()


def told(plant: Plant) -> bool:
    """The server of tools has heard that its call was cancelled."""
    return plant.folder.joinpath("cancelled").exists()


def busy(plant: Plant) -> bool:
    """The worker has a process."""
    return bool(plant.below())


def always(_: Plant) -> bool:
    return True


@dataclass(frozen=True)
class Case:
    """`prompt`: with {mark}, {origin} and {folder}. `model`: of the stub's. `begun`: the event after which it hangs,
    and `hangs`: besides. `in_tool`: then its end may take longer. `closed`: who was asked has seen it go."""

    name: str
    agent: str
    prompt: str
    begun: str = "tool_call_start"
    in_tool: bool = True
    model: str | None = None
    hangs: Callable[[Plant], bool] = always
    closed: Callable[[Plant], bool] = always


def shell(name: str, command: str) -> Case:
    return Case(name, "plain", f"Use shell {json.dumps({'command': command})}")


def again(name: str, **arguments: object) -> Case:
    """The same call over and over: the cancel falls anywhere into it."""
    return Case(f"{name} again and again", "plain", f"Use {name} {json.dumps(arguments)}", model="stub-loop")


SAMPLE = [
    shell("shell", "sleep {mark}"),
    shell("shell in a session of its own without SIGTERM", OWN_SESSION),
    Case("fetch without an answer", "plain", 'Use fetch {"url": "{origin}/silent"}', hangs=waits, closed=left),
    Case("mcp over pipes", "stdio", 'Use my_slow {"folder": "{folder}"}', hangs=began),
    Case("process agent in a session of its own", "process", OWN_SESSION, begun="state"),
    Case("python agent asleep", "python", "sleep", begun="output", in_tool=False),
    Case("model in its answer", "plain", "go", begun="output", in_tool=False, model="stub-stall"),
    Case("approval", "careful", 'Use shell {"command": "true"}', begun="approval_required", in_tool=False),
]
OTHERS = [
    shell("shell with a daemon", DAEMON),
    shell("shell with a flood of output", FLOOD),
    Case("search without end", "plain", 'Use search {"pattern": "(x+x+)+y", "regex": true}', hangs=busy),
    again("list_files", glob="*"),
    again("list_folder", path="."),
    again("read_file", path="large"),
    again("write_file", path="large", content="x" * 20_000),
    again("edit_file", path="large", old_text="x", new_text="xx", all=True),
    again("shell", command="sleep 0.01"),
    Case("fetch drop by drop", "plain", 'Use fetch {"url": "{origin}/drip"}', hangs=waits, closed=left),
    Case("mcp over http", "web", 'Use my_slow {"folder": "{folder}"}', hangs=began, closed=told),
    Case("process agent", "process", "echo begun; sleep {mark}", begun="log"),
    Case("python agent in a tool", "python", "tool {mark}"),
    Case("python agent unwilling", "python", "unwilling", begun="output"),
    Case("model without an answer", "plain", "go", begun="iteration_start", in_tool=False, model="stub-timeout"),
]
FULL_TIERS = [pytest.param(tier, marks=pytest.mark.full) for tier in TIERS[1:]]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[TIERS[0], *FULL_TIERS])
async def plant(
    request: pytest.FixtureRequest, module_url: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Plant]:
    sandbox = "required" if request.param == "bubblewrap" else "reduced"
    async with planted(module_url, tmp_path_factory.mktemp("plant"), sandbox) as plant:
        yield plant


def name(case: Case) -> str:
    return case.name.replace(" ", "_")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", SAMPLE, ids=name)
async def test_a_cancel_ends_a_task_wherever_it_hangs(plant: Plant, case: Case) -> None:
    """In time; its processes, connections and files are gone, and the worker runs the next task."""
    await cancelled(plant, case)


@pytest.mark.full
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("case", OTHERS, ids=name)
async def test_a_cancel_ends_a_task_wherever_else_it_hangs(plant: Plant, case: Case) -> None:
    """The others."""
    await cancelled(plant, case)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("paused", [False, True], ids=["queued", "paused"])
async def test_a_cancel_ends_what_nobody_runs_at_once(plant: Plant, paused: bool) -> None:
    """Behind a task of its session; the answer already says that it is over."""
    session = plant.new_session()
    holder = await plant.api.submit("sleep", session_id=session, agent="python")
    behind = await plant.api.submit("list files", session_id=session, agent="demo")
    await plant.client.wrote("output", session)
    if paused:
        await plant.api.client.post(f"/api/tasks/{behind}/pause")
    answer = await plant.api.client.post(f"/api/tasks/{behind}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
    await plant.api.client.post(f"/api/tasks/{holder}/cancel")
    await plant.client.ended(holder, behind)


async def cancelled(plant: Plant, case: Case) -> None:
    """Have the task hang, cancel it, and look for what is left."""
    client, mark, session = plant.client, new_mark(), plant.new_session()
    workspace = plant.workspace(session)
    workspace.mkdir(parents=True)
    (workspace / "large").write_text(LARGE)
    for left_before in ("began", "cancelled"):
        plant.folder.joinpath(left_before).unlink(missing_ok=True)
    descriptors, below, temporary = sorted(plant.descriptors()), sorted(plant.below()), temporaries()
    prompt = case.prompt
    for word, value in (("{mark}", mark), ("{origin}", plant.origin), ("{folder}", str(plant.folder))):
        prompt = prompt.replace(word, value)
    more = {} if case.model is None else {"model": case.model}
    task_id = await plant.api.submit(prompt, session_id=session, agent=case.agent, **more)
    await client.wrote(case.begun, session)
    await wait_until(
        lambda: case.hangs(plant) and ("{mark}" not in case.prompt or bool(alive(mark))), message="no begin"
    )

    asked_at = monotonic()
    answer = await plant.api.client.post(f"/api/tasks/{task_id}/cancel")
    assert answer.status_code == 202, answer.text
    log = await client.ended(task_id)
    took_s = monotonic() - asked_at
    print(f"{plant.sandbox}, {case.name}: {took_s * 1000:.0f} ms")
    assert log[-1].type == "task_cancelled"
    assert took_s < (END_IN_TOOL_S if case.in_tool else END_S)

    await soon(lambda: not alive(mark) and not remains(workspace, mark), lambda: remains(workspace, mark))
    await soon(lambda: sorted(plant.below()) == below, plant.below)
    await soon(lambda: case.closed(plant), lambda: "a connection")
    await soon(lambda: all(asked.outcome is not None for asked in plant.stub.asked), lambda: "a model that is asked")
    await soon(lambda: sorted(plant.descriptors()) == descriptors, plant.descriptors)
    await soon(lambda: temporaries() <= temporary, lambda: temporaries() - temporary)
    assert not list(workspace.glob(".*.new"))
    following = await plant.api.submit("list files", session_id=session, agent="demo", params={"delay_ms": 0})
    assert (await client.ended(following))[-1].type == "task_complete"
    assert not bad(plant.lines)


def temporaries() -> set[Path]:
    """Folders that a worker made for itself, and in which nobody is (any more)."""
    places = (Path(tempfile.gettempdir()), Path.home() / ".cache")
    made = {path for place in places if place.is_dir() for path in place.glob("runcast-*")}
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            made.discard((process / "cwd").readlink())
    return made


async def soon(gone: Callable[[], bool], what: Callable[[], object]) -> None:
    try:
        await wait_until(gone, LEFT_S)
    except AssertionError:
        raise AssertionError(f"{LEFT_S:g} s after the end there is still: {what()}") from None
