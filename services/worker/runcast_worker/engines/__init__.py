"""The seam between a worker and what thinks: an engine is given a task and yields what happens, as events.

Engines: llm (a model), process (an external command), python (a function of yours), demo (rules), script (plays given
events). An engine knows no store, no ids of events, no attempts.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import JsonValue

from runcast_agents import Agent
from runcast_events.events import ApprovalRequired, Event
from runcast_tasks.conversation import Message
from runcast_tasks.inputs import Input
from runcast_tasks.record import TaskRecord
from runcast_worker.metrics import Metrics
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.tools import Surroundings, Tool


class Tools(Protocol):
    """What the task's agent may use."""

    @property
    def offered(self) -> Sequence[Tool]:
        """In the agent's order."""
        ...

    def approval(
        self, iteration: int, index: int, name: str, arguments: dict[str, JsonValue]
    ) -> ApprovalRequired | None:
        """What has to be asked of somebody before that call can be made; None: nothing. An engine that runs calls side
        by side first makes the others, then raises HandOver with this."""
        ...

    def call(
        self,
        iteration: int,
        index: int,
        name: str,
        arguments: dict[str, JsonValue],
        *,
        raw_arguments: str | None = None,
        provider_id: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The call's events, to be yielded on as they come (those that an earlier attempt has written are not written
        again), from its tool_call_start to its ToolCallComplete with the
        result, or with the error to tell the model; a failing tool raises nothing. `index`: of the call in its
        iteration, from 0; calls may run side by side. `raw_arguments`: what the model said where it was no JSON object;
        the call then fails by it. Raises HandOver where the call needs an approval."""
        ...


class Hear(Protocol):
    async def __call__(self, *, last: bool = False) -> Sequence[Input]:
        """What was said to the task and not heard yet. `last`: where that is nothing the engine ends the task, and what
        is said from now on is refused."""
        ...


async def _nothing(*, last: bool = False) -> Sequence[Input]:
    return ()


@dataclass(frozen=True, slots=True)
class EngineTask:
    """What an engine is given. `surroundings`: where its tools work. `tools`: what they are. `conversation`: reads the
    messages of the session's earlier tasks, oldest first. `redactor`: makes a filter for a stream of text that is not
    ours, such as a program's output. `checkpoint`: of an earlier attempt, to go on from.
    `inputs`: reads what was said to the task meanwhile. `metrics`: of the process."""

    record: TaskRecord
    agent: Agent
    surroundings: Surroundings
    tools: Tools
    conversation: Callable[[], Awaitable[Sequence[Message]]]
    redactor: Callable[[], Redactor]
    checkpoint: bytes | None = None
    inputs: Hear = _nothing
    metrics: Metrics = field(default_factory=Metrics)


@dataclass(frozen=True, slots=True)
class Saved:
    """An event, and with it, in the same step, from where another attempt can go on: `checkpoint` is given to it as it
    is here. Calls that are in the log by then need not be in it: their tools tell again what they came to. `heard`:
    with a message_added, the only one that an engine may write: what was said to the task is in the checkpoint."""

    event: Event
    checkpoint: bytes
    heard: Input | None = None


class HandOver(BaseException):
    """The attempt lets go of its task here, and another goes on later: the worker drains, somebody asked for a pause,
    or a call needs an approval. `event`: what the attempt ends with; `checkpoint`: written with it. No Exception, as a
    cancellation is none: an agent function's `except Exception` must not take it."""

    def __init__(self, event: Event, checkpoint: bytes | None = None) -> None:
        super().__init__(event.event_type)
        self.event, self.checkpoint = event, checkpoint


class EngineError(Exception):
    """The task cannot be done; the message is shown to whoever gave it. `kind`: for programs; `retryable`: the same
    task may succeed another time."""

    def __init__(self, message: str, kind: str = "engine", *, retryable: bool = False) -> None:
        super().__init__(message)
        self.kind, self.retryable = kind, retryable


class Engine(Protocol):
    """Yields events of ENGINE_EVENTS only, opens parts before it adds to them, and closes them; what it leaves open
    the runner closes. Returning ends the task well: its answer is the last `output_complete`. Raising ends it as
    failed. It is stopped by cancelling the task it runs in, and must not take longer than a few seconds to end."""

    def run(self, task: EngineTask) -> AsyncGenerator[Event | Saved, None]: ...
