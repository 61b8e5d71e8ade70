"""What a vanished attempt has left open, closed by whoever ends its task: no other attempt will."""

from runcast_events.events import Event, IterationReset, ToolCallComplete, ToolError
from runcast_events.keys import SessionKeys
from runcast_events.log import Write
from runcast_tasks.record import TaskRecord
from runcast_tasks.takeover import read_takeover
from runcast_worker.deps import Deps
from runcast_worker.toolbox.journal import iteration_of
from runcast_worker.toolbox.told import told_error
from runcast_worker.toolbox.toolbox import INTERRUPTED


async def close_left_open(deps: Deps, keys: SessionKeys, record: TaskRecord) -> tuple[list[Event], Write]:
    """The events that close its calls and its parts; to be written with what must not have changed meanwhile: else the
    attempt lives, and closes them itself."""
    sequence: bytes | None = await deps.events.hget(keys.task(record.id), "seq")  # type: ignore[misc]
    journal = (await read_takeover(deps.events, keys, record.id)).journal
    error = told_error(INTERRUPTED, deps.redactor())
    closing: list[Event] = [
        _end(call_id, entry["name"], error)
        for call_id, entry in journal.items()
        if "complete" in entry and entry["complete"] is None and not entry.get("closed")
    ]
    if record.iteration:
        closing.append(IterationReset(iteration=record.iteration))
    return closing, Write("unchanged", "seq", sequence or b"")


def _end(call_id: str, name: str, error: ToolError) -> ToolCallComplete:
    # When it ended nobody knows.
    event = ToolCallComplete(tool_call_id=call_id, tool_name=name, duration_ms=0, error=error)
    iteration = iteration_of(call_id)
    return event if iteration is None else event.model_copy(update={"iteration": iteration})
