"""From an agent function's steps to events: parts and iterations opened and closed, ids and offsets ours. Pure."""

import json
from collections.abc import Iterator
from time import monotonic

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
from runcast_worker.engines import Saved
from runcast_worker.engines.python.steps import NextIteration, Say, Step, Think, ToolEnded, ToolStarted, Used
from runcast_worker.tools import ARGUMENTS_BYTES

DELTA_CHARS = 8192
PART_CHARS = 1024 * 1024
"""A part that grows beyond this ends, and the next begins."""
SHOWN_CHARS = 1000
NAME_CHARS = 100

ALONE = frozenset(
    {
        *("task_analysis", "plan_created", "phase_start", "phase_complete", "todos_updated", "progress"),
        *("log", "extraction", "state"),
    }
)
"""Events that may be yielded as they are; the others depend on what was yielded before."""
_PARTS = {
    Say: ("o", OutputStart, Output, OutputComplete),
    Think: ("t", ThinkingStart, Thinking, ThinkComplete),
}


class WrongStep(ValueError):
    """What was yielded cannot be told; the message says what was expected."""


class Expansion:
    """Of one run. Nothing is told twice, and nothing that is not open is added to."""

    def __init__(self, attempt: int = 1, iteration: int = 0, reached: int = 0) -> None:
        """`iteration`: the last one of an earlier attempt, whose checkpoint this one goes on from. `reached`: the last
        one that an earlier attempt began."""
        self._attempt, self._iteration, self._began, self._reached = attempt, iteration, False, reached
        self._index = 0  # of the next call in its iteration
        self._parts = 0
        self._kind: type[Say] | type[Think] | None = None  # of the open part
        self._text: list[str] = []
        self._size = 0
        self._usage: list[Used] = []  # of the open iteration
        self._calls: dict[str, tuple[ToolCallStart, float]] = {}

    def events(self, step: Step) -> Iterator[Event | Saved]:
        """Raises WrongStep."""
        match step:
            case Say() | Think():
                yield from self._add(step)
            case NextIteration():
                yield from self._next(step)
            case ToolStarted():
                yield from self._start(step)
            case ToolEnded():
                yield from self._complete(step)
            case Used():
                yield from self._used(step)
            case Event() if step.event_type in ALONE:
                yield from self._close()
                yield step
            case _:
                raise WrongStep(f"{_shown(step)}: expected one of runcast_worker.python's steps, such as Say(text)")

    def _next(self, step: NextIteration) -> Iterator[Event | Saved]:
        *before, complete = self.end()
        yield from before
        if step.checkpoint is None:
            yield complete
        else:
            saved = {"iteration": self._iteration, "checkpoint": step.checkpoint}
            try:
                yield Saved(complete, json.dumps(saved, allow_nan=False).encode())
            except (TypeError, ValueError) as error:
                raise WrongStep(f"{_shown(step)}: its checkpoint is no JSON: {error}") from None
        yield from self._begin()

    def own_call(self) -> tuple[list[Event], int, int]:
        """A call of our tools begins: the events before it, its iteration and its index there."""
        before = [*self._opened(), *self._close()]
        return before, self._iteration, self._next_index()

    def end(self) -> Iterator[Event]:
        """Closes the open part and the open iteration."""
        yield from self._opened()
        yield from self._close()
        total = {"usage": _sum(self._usage)} if self._usage else {}
        yield IterationComplete(iteration=self._iteration, **total)
        self._usage = []

    def _begin(self) -> Iterator[Event]:
        self._iteration += 1
        self._index = 0
        if self._attempt > 1 and not self._began:  # told anew from here, up to where another has left its parts open
            for again in range(self._iteration, max(self._iteration, self._reached) + 1):
                yield IterationReset(iteration=again)
        self._began = True
        yield IterationStart(iteration=self._iteration)

    def _opened(self) -> Iterator[Event]:
        if not self._began:
            yield from self._begin()

    def _next_index(self) -> int:
        self._index += 1
        return self._index - 1

    def _add(self, step: Say | Think) -> Iterator[Event]:
        if not isinstance(step.text, str):
            raise WrongStep(f"{_shown(step)}: expected a text")
        text = _writable(step.text)
        yield from self._opened()
        for at in range(0, len(text), DELTA_CHARS):
            if self._kind is not type(step) or self._size >= PART_CHARS:
                yield from self._close()
                yield self._open(type(step))
            letter, _, delta, _ = _PARTS[type(step)]
            piece = text[at : at + DELTA_CHARS]
            yield delta(iteration=self._iteration, part_id=self._part_id(letter), delta=piece, offset=self._size)
            self._text.append(piece)
            self._size += len(piece)

    def _open(self, kind: type[Say] | type[Think]) -> Event:
        self._kind, self._size, self._text = kind, 0, []
        self._parts += 1
        letter, start, _, _ = _PARTS[kind]
        return start(iteration=self._iteration, part_id=self._part_id(letter))

    def _part_id(self, letter: str) -> str:
        return f"{letter}{self._parts}" if self._attempt == 1 else f"{letter}{self._parts}a{self._attempt}"

    def _close(self) -> Iterator[Event]:
        if self._kind is not None:
            letter, _, _, complete = _PARTS[self._kind]
            content = "".join(self._text)
            self._kind, self._text = None, []
            yield complete(iteration=self._iteration, part_id=self._part_id(letter), content=content)

    def _start(self, step: ToolStarted) -> Iterator[Event]:
        if step.id in self._calls:
            raise WrongStep(f"{_shown(step)}: a call of this id runs already")
        arguments = dict(step.arguments)
        raw = {}
        try:
            told = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
            told.encode()
        except (TypeError, ValueError) as error:
            raise WrongStep(f"{_shown(step)}: its arguments are no JSON: {error}") from None
        if len(told.encode()) > ARGUMENTS_BYTES:
            arguments, raw = {}, {"raw_arguments": f"{told[:SHOWN_CHARS]} … ({len(told)} characters in all)"}
        yield from self._opened()
        yield from self._close()
        start = ToolCallStart(
            iteration=self._iteration,
            tool_call_id=f"{self._iteration}.{self._next_index()}",
            tool_name=_writable(step.name)[:NAME_CHARS],
            arguments=arguments,
            provider_id=_writable(step.id)[:NAME_CHARS],
            **raw,
        )
        self._calls[step.id] = (start, monotonic())
        yield start

    def _complete(self, step: ToolEnded) -> Iterator[Event]:
        if step.id not in self._calls:
            raise WrongStep(f"{_shown(step)}: no call of this id runs; expected ToolStarted before")
        start, began = self._calls.pop(step.id)
        told: dict[str, object] = {"result": step.result}
        if step.error is not None:
            told = {"error": ToolError(code="failed", message=_writable(step.error)[:DELTA_CHARS])}
        yield from self._close()
        yield ToolCallComplete.model_validate(
            {
                "iteration": start.iteration,
                "tool_call_id": start.tool_call_id,
                "tool_name": start.tool_name,
                "duration_ms": int((monotonic() - began) * 1000),
                **told,
            }
        )

    def _used(self, step: Used) -> Iterator[Event]:
        yield from self._opened()
        self._usage.append(step)
        yield TokenUsage(
            iteration=self._iteration,
            model=step.model,
            input=step.input,
            output=step.output,
            cached=step.cached,
            cost_usd=step.cost_usd,
        )


def _sum(usage: list[Used]) -> Usage:
    costs = [each.cost_usd for each in usage]
    known = [cost for cost in costs if cost is not None]
    return Usage(
        input=sum(each.input for each in usage),
        output=sum(each.output for each in usage),
        cached=sum(each.cached for each in usage),
        cost_usd=sum(known) if len(known) == len(costs) else None,
    )


def _shown(step: object) -> str:
    return f"{step!r:.200}"


def _writable(text: str) -> str:
    """Without lone surrogates, which are no Unicode."""
    return text.encode(errors="replace").decode()
