"""What an agent function yields: less than events, so that it cannot get them wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from runcast_events.events import Event


@dataclass(frozen=True, slots=True)
class Say:
    """A piece of the answer, as it comes. Pieces in a row are one part; it ends when anything else is yielded but Used.
    What the last part says is the task's answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Think:
    """A piece of the model's reasoning, as it comes; in parts like Say's."""

    text: str


@dataclass(frozen=True, slots=True)
class NextIteration:
    """The model's next turn begins. The first begins by itself, so this stands between turns. `checkpoint`: JSON that
    another attempt is given as `task.checkpoint`, should this one's worker die or be deployed after it."""

    checkpoint: JsonValue = None


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """The agent calls a tool of its own. `id`: whatever the framework calls the call; ToolEnded names it again. For
    Runcast's tools use `task.call`, which needs neither."""

    id: str
    name: str
    arguments: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """The call came to its `result`, or to an `error`, in a sentence."""

    id: str
    result: JsonValue = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """What one call of a model took, in tokens. `input` includes `cached`. `cost_usd`: None where it is not known."""

    model: str
    input: int = 0
    output: int = 0
    cached: int = 0
    cost_usd: float | None = None


Step = Say | Think | NextIteration | ToolStarted | ToolEnded | Used | Event
"""Of events only those that stand alone: task_analysis, plan_created, phase_start, phase_complete, todos_updated,
progress, log, extraction, state."""
