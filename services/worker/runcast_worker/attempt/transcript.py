"""What an attempt has said so far: what is open and must be closed, and what its terminal event tells. Pure."""

from collections.abc import Callable
from time import monotonic
from typing import Any

from runcast_events.events import (
    Event,
    IterationComplete,
    IterationReset,
    IterationStart,
    Output,
    OutputComplete,
    OutputStart,
    ThinkComplete,
    Thinking,
    ThinkingStart,
    TokenUsage,
    ToolCallComplete,
    ToolCallStart,
    ToolError,
    Usage,
)
from runcast_worker.usage import total

PART_CHARS = 4 * 1024 * 1024
"""Of an open part at most this much is remembered, and so told when the runner has to close it."""


class _Part:
    __slots__ = ("complete", "deltas", "iteration", "part_id", "size")

    def __init__(self, complete: Callable[..., Event], part_id: str, iteration: int | None) -> None:
        self.complete, self.part_id, self.iteration = complete, part_id, iteration
        self.deltas: list[str] = []
        self.size = 0

    def close(self) -> Event:
        content = "".join(self.deltas)[:PART_CHARS]
        return self.complete(part_id=self.part_id, content=content, **_in(self.iteration))


class _Call:
    __slots__ = ("began", "start")

    def __init__(self, start: ToolCallStart) -> None:
        self.start, self.began = start, monotonic()

    def close(self) -> Event:
        return ToolCallComplete(
            tool_call_id=self.start.tool_call_id,
            tool_name=self.start.tool_name,
            duration_ms=int((monotonic() - self.began) * 1000),
            error=ToolError(code="cancelled", message="the call was stopped before it ended"),
            **_in(self.start.iteration),
        )


def _in(iteration: int | None) -> dict[str, Any]:
    return {} if iteration is None else {"iteration": iteration}


class Transcript:
    """Shown every event of an attempt's engine, in order. `before`, `final_answer`, `iterations`: what earlier
    attempts of the task took, said, and came to."""

    def __init__(self, before: Usage | None = None, final_answer: str = "", iterations: int = 0) -> None:
        self._before = before or Usage()
        self._open: dict[tuple[type[Event], str], _Part | _Call] = {}  # by what closes it, in the order of opening
        self._iteration: int | None = None
        self._usage: list[TokenUsage] = []
        self.final_answer = final_answer
        self.iterations = iterations
        self._see: dict[str, Callable[[Any], None]] = {
            "output": lambda event: self._delta(OutputComplete, event),
            "thinking": lambda event: self._delta(ThinkComplete, event),
            "output_start": self._part_start,
            "thinking_start": self._part_start,
            "output_complete": self._output_complete,
            "think_complete": self._part_complete,
            "tool_call_start": self._call_start,
            "tool_call_complete": self._call_complete,
            "iteration_start": self._iteration_start,
            "iteration_complete": self._iteration_complete,
            "iteration_reset": self._iteration_reset,
            "token_usage": self._usage.append,
        }

    def see(self, event: Event) -> None:
        see = self._see.get(event.event_type)
        if see is not None:
            see(event)

    def closing(self, *, iteration: bool = True) -> list[Event]:
        """The events that close what is open, the innermost first. `iteration`: that too; else another attempt goes on
        in it."""
        events = [opened.close() for opened in reversed(self._open.values())]
        if iteration and self._iteration is not None:
            events.append(IterationComplete(iteration=self._iteration))
        for event in events:
            self.see(event)
        return events

    @property
    def usage(self) -> Usage:
        """Of this attempt and of those before it."""
        return total([self._before, *self._usage])

    def _part_start(self, event: OutputStart | ThinkingStart) -> None:
        complete = OutputComplete if isinstance(event, OutputStart) else ThinkComplete
        self._open[complete, event.part_id] = _Part(complete, event.part_id, event.iteration)

    def _delta(self, complete: type[Event], event: Output | Thinking) -> None:
        part = self._open.get((complete, event.part_id))
        if isinstance(part, _Part) and part.size < PART_CHARS:
            part.deltas.append(event.delta)
            part.size += len(event.delta)

    def _part_complete(self, event: OutputComplete | ThinkComplete) -> None:
        self._open.pop((type(event), event.part_id), None)

    def _output_complete(self, event: OutputComplete) -> None:
        self._part_complete(event)
        self.final_answer = event.content

    def _call_start(self, event: ToolCallStart) -> None:
        self._open[ToolCallComplete, event.tool_call_id] = _Call(event)

    def _call_complete(self, event: ToolCallComplete) -> None:
        self._open.pop((ToolCallComplete, event.tool_call_id), None)

    def _iteration_start(self, event: IterationStart) -> None:
        self._iteration = event.iteration
        self.iterations = max(self.iterations, event.iteration)

    def _iteration_reset(self, event: IterationReset) -> None:
        """Its open parts are dropped, by every reader; its calls are not."""
        for key, opened in list(self._open.items()):
            if isinstance(opened, _Part) and opened.iteration == event.iteration:
                del self._open[key]

    def _iteration_complete(self, event: IterationComplete) -> None:
        self._iteration = None
