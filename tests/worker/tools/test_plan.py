"""plan, todos, progress and list_folder: what they tell, and what they refuse."""

import json
import os
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from pydantic import JsonValue, ValidationError
from redis.asyncio import Redis

from runcast_events.events import Event, ToolCallComplete
from runcast_worker.engines import EngineTask
from runcast_worker.tools import list_folder as list_folder_module
from runcast_worker.tools.all import all_tools
from runcast_worker.tools.list_folder import ListFolder
from runcast_worker.tools.plan import PlanTool
from runcast_worker.tools.progress import ProgressTool
from runcast_worker.tools.todos import Todos
from tests.attempts import session_keys
from tests.worker.conftest import Client, StartWorker
from tests.worker.tools.calling import Call


@pytest.fixture
def call(tmp_path: Path) -> Call:
    return Call(tmp_path.resolve())


def fields(event: Event) -> dict[str, object]:
    return {"event_type": event.event_type, **event.model_dump(exclude_unset=True, exclude={"iteration"})}


async def test_a_plan_is_made_and_its_phases_begin_and_end(call: Call) -> None:
    """Each with the id that create answered."""
    made = await call(PlanTool(), action="create", goal="Build it", phases=["Look", "Write"])
    assert made["phases"][1] == {"id": "p2", "name": "Write", "state": "pending"}
    call.phases = made["phases"]
    assert (await call(PlanTool(), action="start", phase_id="p2"))["phases"][1]["state"] == "active"
    assert (await call(PlanTool(), action="complete", phase_id="p1"))["phases"][0]["state"] == "done"
    assert [fields(event) for event in call.told] == [
        {
            "event_type": "plan_created",
            "goal": "Build it",
            "phases": [{"id": "p1", "name": "Look"}, {"id": "p2", "name": "Write"}],
        },
        {"event_type": "phase_start", "phase_id": "p2", "phase_name": "Write", "phase_index": 1},
        {"event_type": "phase_complete", "phase_id": "p1", "phase_name": "Look", "phase_index": 0},
    ]


async def test_a_phase_that_is_not_in_the_plan_is_refused(call: Call) -> None:
    """With those there are; without a plan it says so. Nothing is told."""
    assert "create one first" in (await call.refused(PlanTool(), action="start", phase_id="p1")).message
    call.phases = [{"id": "p1", "name": "Look", "state": "pending"}]
    unknown = await call.refused(PlanTool(), action="complete", phase_id="p9")
    assert (unknown.code, "p1 (Look)" in unknown.message) == ("unknown_phase", True)
    assert (await call.refused(PlanTool(), action="start")).code == "unknown_phase"
    assert (await call.refused(PlanTool(), action="create", goal="x")).code == "invalid_arguments"
    assert not call.told


async def test_todos_replace_the_list(call: Call) -> None:
    """Numbered in their order; an empty list is one too."""
    said = await call(Todos(), todos=[{"text": "one", "done": True}, {"text": "two"}])
    assert said == "2 todos: 1 done, 1 open"
    await call(Todos(), todos=[])
    assert [fields(event) for event in call.told] == [
        {
            "event_type": "todos_updated",
            "todos": [{"id": "1", "text": "one", "done": True}, {"id": "2", "text": "two", "done": False}],
        },
        {"event_type": "todos_updated", "todos": []},
    ]
    for wrong in ([{"text": ""}], [{"text": "x" * 301}], [{"text": "x"}] * 51, [{"text": "x", "id": "1"}]):
        with pytest.raises(ValidationError):
            await call(Todos(), todos=wrong)  # type: ignore[arg-type]


async def test_progress_is_told(call: Call) -> None:
    """A message is left out where there is none."""
    await call(ProgressTool(), percent=40)
    await call(ProgressTool(), percent=50.5, message="half")
    assert [fields(event) for event in call.told] == [
        {"event_type": "progress", "percent": 40.0},
        {"event_type": "progress", "percent": 50.5, "message": "half"},
    ]
    with pytest.raises(ValidationError):
        await call(ProgressTool(), percent=101)


async def test_a_folder_is_listed_as_it_is(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names, kinds and sizes, hidden ones too; a link is not followed."""
    (tmp_path / "b").mkdir()
    (tmp_path / ".a").write_text("xyz")
    (tmp_path / "c").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "d")
    entries = [
        {"name": ".a", "kind": "file", "bytes": 3},
        {"name": "b", "kind": "folder"},
        {"name": "c", "kind": "link"},
        {"name": "d", "kind": "other"},
    ]
    assert await call(ListFolder()) == {"entries": entries, "complete": True}
    assert await call(ListFolder(), path="b") == {"entries": [], "complete": True}
    assert await call(ListFolder(), limit=2) == {"entries": entries[:2], "complete": False}
    codes = {"../x": "outside_workspace", "missing": "not_found", ".a": "not_a_folder", "c": "outside_workspace"}
    for path, code in codes.items():
        assert (await call.refused(ListFolder(), path=path)).code == code
    monkeypatch.setattr(list_folder_module, "LOOKED", 3)
    assert not (await call(ListFolder(), limit=2))["complete"]


def test_every_tool_and_every_argument_is_described() -> None:
    """It is all that a model knows of them; the numbers that bound an argument speak for themselves."""
    for tool in all_tools().values():
        assert len(tool.description) > 40, tool.name
        for name, argument in tool.arguments.model_json_schema()["properties"].items():
            assert argument.get("description") or name in ("limit", "done"), f"{tool.name}.{name}"


class Planner:
    """An engine that makes a plan, begins its first phase, and completes one that there is not."""

    def __init__(self) -> None:
        self.told: list[ToolCallComplete] = []

    async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
        actions: list[dict[str, JsonValue]] = [
            {"action": "create", "goal": "Build it", "phases": ["Look", "Write"]},
            {"action": "start", "phase_id": "p1"},
            {"action": "complete", "phase_id": "p3"},
        ]
        for index, arguments in enumerate(actions):
            async for event in task.tools.call(1, index, "plan", arguments):
                if isinstance(event, ToolCallComplete):
                    self.told.append(event)
                yield event


async def test_the_plan_of_a_session_is_what_its_calls_made(
    client: Client, start_worker: StartWorker, redis: Redis
) -> None:
    """Through a real worker: a call knows the phases that an earlier one made, and the session's record has them."""
    engine = Planner()
    async with start_worker({"demo": engine}):
        log = await client.ended(await client.submit())
    told = [entry.type for entry in log if entry.type in ("plan_created", "phase_start", "phase_complete")]
    assert told == ["plan_created", "phase_start"]
    assert [call.error and call.error.code for call in engine.told] == [None, None, "unknown_phase"]
    plan = json.loads(await redis.hget(session_keys().session, "plan") or "null")  # type: ignore[misc]
    assert [phase["state"] for phase in plan["phases"]] == ["active", "pending"]
