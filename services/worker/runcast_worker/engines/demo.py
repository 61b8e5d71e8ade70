"""The demo engine: no key, no network, no model. It plans by fixed rules (intents.py), really calls the tools, and says
that it is a demo. `params`: {delay_ms?}: between words, default 5."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from runcast_events.events import (
    Event,
    IterationComplete,
    IterationReset,
    IterationStart,
    Output,
    OutputComplete,
    OutputStart,
    Phase,
    PhaseComplete,
    PhaseStart,
    PlanCreated,
    TaskAnalysis,
    ThinkComplete,
    Thinking,
    ThinkingStart,
    Todo,
    TodosUpdated,
    ToolCallComplete,
)
from runcast_worker.engines import EngineError, EngineTask
from runcast_worker.engines.answers import answer
from runcast_worker.engines.intents import Plan, plan

PHASES = (Phase(id="work", name="Use the tools"), Phase(id="answer", name="Say what was found"))


class DemoParams(BaseModel):
    """Anything else is left to other agents."""

    delay_ms: Annotated[float, Field(ge=0, le=1000)] = 5


class DemoEngine:
    """An engine; see runcast_worker.engines. One iteration per tool call, and one for the answer."""

    async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
        try:
            delay_s = DemoParams.model_validate(task.record.params).delay_ms / 1000
        except ValidationError as error:
            raise EngineError(f"params.delay_ms: {error.errors()[0]['msg']}") from None
        planned, attempt = plan(task.record.prompt), task.record.attempt
        goal = task.record.prompt.strip()[:500] or "(nothing was asked)"
        for told in range(1, task.record.iteration + 1):  # by another attempt, which may have left parts open
            yield IterationReset(iteration=told)
        yield TaskAnalysis(action_name=planned.title[:60], goal=goal)
        yield PlanCreated(goal=goal, phases=list(PHASES))
        calls: list[ToolCallComplete] = []
        yield _phase(PhaseStart, 0)
        yield _todos(planned, 0)
        for iteration, step in enumerate(planned.steps, 1):
            yield IterationStart(iteration=iteration)
            async for event in _say(_THINKING, iteration, attempt, step.why, delay_s):
                yield event
            async for called in task.tools.call(iteration, 0, step.tool, step.arguments):
                yield called
                if isinstance(called, ToolCallComplete):
                    calls.append(called)
            yield IterationComplete(iteration=iteration)
            if calls[-1].error is not None:
                break
            yield _todos(planned, iteration)
        yield _phase(PhaseComplete, 0)
        yield _phase(PhaseStart, 1)
        last = len(calls) + 1
        yield IterationStart(iteration=last)
        async for event in _say(_OUTPUT, last, attempt, answer(planned, calls), delay_s):
            yield event
        yield IterationComplete(iteration=last)
        yield _phase(PhaseComplete, 1)


_Part = tuple[Callable[..., Event], Callable[..., Event], Callable[..., Event], str]
_THINKING: _Part = (ThinkingStart, Thinking, ThinkComplete, "t")
_OUTPUT: _Part = (OutputStart, Output, OutputComplete, "o")


async def _say(part: _Part, iteration: int, attempt: int, text: str, delay_s: float) -> AsyncGenerator[Event, None]:
    """A part, word by word; offsets count code points."""
    start, delta, complete, letter = part
    # Another attempt begins anew: its parts are others.
    part_id, offset = f"{letter}{iteration}" + (f"a{attempt}" if attempt > 1 else ""), 0
    yield start(iteration=iteration, part_id=part_id)
    for word in re.findall(r"\s*\S+\s*?|\s+", text):
        yield delta(iteration=iteration, part_id=part_id, delta=word, offset=offset)
        offset += len(word)
        if delay_s:
            await asyncio.sleep(delay_s)
    yield complete(iteration=iteration, part_id=part_id, content=text)


def _phase(kind: type[PhaseStart] | type[PhaseComplete], index: int) -> Event:
    return kind(phase_id=PHASES[index].id, phase_name=PHASES[index].name, phase_index=index)


def _todos(planned: Plan, done: int) -> TodosUpdated:
    """The plan's steps, the first `done` of them ticked."""
    return TodosUpdated(
        todos=[Todo(id=str(i), text=step.why, done=i <= done) for i, step in enumerate(planned.steps, 1)]
    )
