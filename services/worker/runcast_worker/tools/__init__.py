"""The seam to what agents can do: a tool has a name, a model of its arguments, and a call.

A tool is given one workspace. Until the sandbox (a later issue) this is the reduced tier: tools run as the worker's
user, in a session of their own and with a cleared environment, but without limits to memory, processor or processes,
and the shell can read and change what that user can. A call that ends or is stopped kills its process group; what left
the group (setsid) lives on, and so do the tools of a worker that is killed by SIGKILL.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

Stream = Callable[[Literal["stdout", "stderr"], str], Awaitable[None]]
"""Shows a piece of a running call's output; waits while the reader is behind. A piece is at most 8192 characters."""


ARGUMENTS_BYTES = 48 * 1024
"""A call's arguments as JSON: with its envelope they must fit into one event."""


class ToolFailed(Exception):
    """The call came to nothing and the agent is told why: `code` for programs, the message for the model."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


class Arguments(BaseModel):
    """Base of the tools' arguments: what a tool does not know it refuses, so that a model learns of its mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a tool works. `workspace`: absolute, without symlinks."""

    workspace: Path
    read_only: bool = False


class Tool(Protocol):
    """`arguments`: the model that the call's arguments are checked with. `changes`: it could change the workspace, so
    read-only agents are refused it. `call` raises ToolFailed; it is stopped by cancelling and then leaves no process of
    its group."""

    @property
    def name(self) -> str: ...

    @property
    def arguments(self) -> type[Arguments]: ...

    @property
    def changes(self) -> bool: ...

    async def call(self, arguments: Any, surroundings: Surroundings, stream: Stream) -> JsonValue: ...
