"""The seam between a worker and what thinks: an engine is given a task and yields what happens, as events.

Engines: demo (rules), script (plays given events). An engine knows no store, no ids of events, no attempts.
"""

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import JsonValue

from runcast_agents import Agent
from runcast_events.events import Event, ToolCallComplete, ToolCallStart, ToolCallStream
from runcast_tasks.record import TaskRecord

ToolEvent = ToolCallStart | ToolCallStream | ToolCallComplete
CallTool = Callable[[int, int, str, dict[str, JsonValue]], AsyncGenerator[ToolEvent, None]]
"""`(iteration, index, tool name, arguments)`: the call's events, to be yielded on as they come. The last one is the
ToolCallComplete with the result, or with the error to tell the model; a failing tool raises nothing."""


@dataclass(frozen=True, slots=True)
class EngineTask:
    """What an engine is given. `workspace`: the folder that the tools see."""

    record: TaskRecord
    agent: Agent
    workspace: Path
    tools: CallTool


class EngineError(Exception):
    """The task cannot be done as it was given; the message is shown to whoever gave it."""


class Engine(Protocol):
    """Yields events of ENGINE_EVENTS only, opens parts before it adds to them, and closes them; what it leaves open
    the runner closes. Returning ends the task well: its answer is the last `output_complete`. Raising ends it as
    failed. It is stopped by cancelling the task it runs in, and must not take longer than a few seconds to end."""

    def run(self, task: EngineTask) -> AsyncGenerator[Event, None]: ...
