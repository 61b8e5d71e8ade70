"""The seam to what agents can do: a tool has a name, a description, a model of its arguments, and a call.

A tool is given one workspace. What it starts runs in the worker's sandbox (runcast_worker.sandbox).
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from runcast_agents import SandboxPolicy
from runcast_events.events import Event
from runcast_worker.sandbox import Child, Sandbox

ARGUMENTS_BYTES = 48 * 1024
"""A call's arguments as JSON: with its envelope they must fit into one event."""
RESULT_BYTES = 48 * 1024
"""A call's result as JSON: of a longer one the event, and so the model, is given head and tail as a text."""
OUTPUT_BYTES = 44 * 1024
"""Of what a call streamed its result may hold this much as JSON, beside other fields."""


class ToolFailed(Exception):
    """The call came to nothing and the agent is told why: `code` for programs, the message for the model."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Arguments(BaseModel):
    """Base of the tools' arguments: what a tool does not know it refuses, so that a model learns of its mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a tool works. `workspace`: absolute, without symlinks. `fetch_allow`: see Agent. `phases`: those of the
    session's plan, {id, name, state: pending | active | done} each."""

    workspace: Path
    read_only: bool = False
    sandbox: Sandbox = Sandbox("reduced")  # noqa: RUF009 - frozen
    policy: SandboxPolicy = SandboxPolicy()  # noqa: RUF009 - frozen
    fetch_allow: tuple[str, ...] = ()
    phases: Callable[[], Sequence[Mapping[str, str]]] = list

    def run(self, argv: Sequence[str], *, tty: bool = False) -> AbstractAsyncContextManager[Child]:
        """Start a command in the workspace; see Sandbox.run."""
        return self.sandbox.run(argv, self.workspace, self.policy, tty=tty)


@dataclass(frozen=True, slots=True)
class Captured:
    """What a call has streamed, filtered. `text`: the whole, or its head and tail; `size`: bytes of the whole."""

    text: str
    size: int


class Tell(Protocol):
    """What a running call shows of itself."""

    async def stream(self, source: Literal["stdout", "stderr"], text: str) -> None:
        """A piece of output. Waits while the reader is behind. It is filtered, shown while it comes as far as there is
        room, kept as head and tail, and where it is long written to the store whole."""

    async def captured(self, limit: int = OUTPUT_BYTES) -> Captured:
        """After the last piece: what was streamed, in at most `limit` bytes as JSON, for the result or the error."""

    async def event(self, event: Event) -> None:
        """A plan event: plan_created, phase_start, phase_complete, todos_updated, progress."""


class Tool(Protocol):
    """`description`: for the model. `arguments`: what the call's arguments are checked with; the model is shown its
    JSON schema. `changes`: it could change the workspace, so read-only agents are refused it. `call` raises ToolFailed;
    it is stopped by cancelling and then leaves no process behind."""

    @property
    def name(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def arguments(self) -> type[BaseModel]: ...

    @property
    def changes(self) -> bool: ...

    async def call(self, arguments: Any, surroundings: Surroundings, tell: Tell) -> JsonValue: ...
