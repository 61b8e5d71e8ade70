"""The model of one agent: its engine, what it may use, and how far it may go."""

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import re2
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator

EngineName = Literal["demo", "script", "llm", "python", "process"]
ToolName = Literal[
    "shell",
    "read_file",
    "write_file",
    "edit_file",
    "list_folder",
    "list_files",
    "search",
    "fetch",
    "plan",
    "todos",
    "progress",
]
TOOL_NAMES: tuple[ToolName, ...] = get_args(ToolName)
AgentName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,31}$")]
Positive = Annotated[int, Field(ge=1)]
HostPort = Annotated[str, Field(pattern=r"^(\[[0-9a-f:.]+\]|[a-z0-9._-]+):[0-9]{1,5}$")]

PATTERN_BYTES = 1024 * 1024
"""What a pattern's automaton may take: re2 needs no more time than the line is long, whatever the pattern."""


def compile_pattern(pattern: str) -> Any:
    """A pattern of a process agent, by re2: linear time, so that no line can stall a worker. Raises ValueError."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_BYTES
    try:
        return re2.compile(pattern, options)  # type: ignore[no-untyped-call]
    except re2.error as error:
        said = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
        raise ValueError(f"not a pattern (re2 syntax, without look-around and back references): {said}") from None


def _pattern(pattern: str) -> str:
    compile_pattern(pattern)
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_pattern)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Table):
    """What one task may take; beyond it the task fails, and its kind names the limit. Tokens and cost are counted over
    all its attempts, the others in each."""

    iterations: Positive = 100
    tool_calls: Positive = 500
    tokens: Positive | None = None
    """Input and output added up, as the provider counts them."""
    cost_usd: Annotated[float, Field(gt=0)] | None = None
    """Where a price is known. A model without one never reaches it."""
    wall_time_s: Annotated[float, Field(gt=0)] = 3600.0


class SandboxPolicy(_Table):
    """What the processes of one call may take and reach."""

    network: bool = False
    """Leave the network open to them. Without bubblewrap it cannot be closed."""
    read: tuple[Path, ...] = ()
    """Files and folders of the host that they may read besides the system's own, absolute."""
    memory_mb: Annotated[int, Field(ge=16)] = 2048
    processes: Annotated[int, Field(ge=4)] = 128
    file_mb: Positive = 256
    """The largest single file."""
    disk_mb: Positive = 1024
    """The whole workspace."""
    cpu_s: Positive = 600
    """Processor time of one process."""

    @field_validator("read")
    @classmethod
    def _absolute(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        for path in paths:
            if not path.is_absolute():
                raise ValueError(f"{str(path)!r} is relative; expected an absolute path")
        return paths


class McpServer(_Table):
    """A server of tools: a command that talks MCP over its pipes, or the URL of one that talks streamable HTTP.
    `${NAME}` in `env` and `headers` is taken from the worker's environment, so that no secret stands in the file."""

    command: tuple[str, ...] = ()
    env: dict[str, str] = {}
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = None
    headers: dict[str, str] = {}
    tools: tuple[str, ...] | None = None
    """Which of its tools the agent is offered. None: all."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    """How long it may take to start, and for one call."""

    @model_validator(mode="after")
    def _one_of(self) -> "McpServer":
        if bool(self.command) == bool(self.url):
            raise ValueError("expected either command or url")
        if self.url and self.env:
            raise ValueError("env is for a command; a url has headers")
        if self.command and self.headers:
            raise ValueError("headers are for a url; a command has env")
        return self


_ONLY = {
    "instructions": ("llm",),
    "model": ("llm",),
    "models": ("llm",),
    "fallback_models": ("llm",),
    "model_settings": ("llm",),
    "entry": ("python",),
    "options": ("python",),
    "command": ("process",),
    "env": ("process",),
    "patterns": ("process",),
}


class Agent(_Table):
    """One agent. Engines that play or run what the file says come only from here, never from a request."""

    engine: EngineName
    description: str = ""
    tools: tuple[ToolName, ...] = TOOL_NAMES
    workspace: Path | None = None
    """A folder that all sessions share, instead of one per session. Relative to the agents file."""
    read_only: bool = False
    """Tools that could change the workspace are refused."""
    approve: tuple[str, ...] = ()
    """Tools whose calls wait until somebody has approved them: POST /api/tasks/{task_id}/approvals/{tool_call_id}."""
    idempotent_tools: tuple[str, ...] = ()
    """Tools that may be called again when a worker died in the middle of a call; those that change nothing always may.
    Of the others the model is told that the outcome is unknown."""
    fetch_allow: tuple[HostPort, ...] = ()
    """`host:port` that the tool fetch may ask although it is not public, such as a server of documents in the house."""
    limits: Limits = Limits()
    sandbox: SandboxPolicy = SandboxPolicy()
    mcp: dict[Name, McpServer] = {}

    instructions: str = ""
    model: str | None = None
    """`provider:name` as pydantic-ai knows them, or a bare name of RUNCAST_LLM_PROVIDER's. None: RUNCAST_LLM_MODEL."""
    models: tuple[str, ...] = ()
    """Models that a task may ask for besides."""
    fallback_models: tuple[str, ...] = ()
    """Tried in this order where a model fails for good before it said anything."""
    model_settings: dict[str, JsonValue] = {}
    """Such as temperature or max_tokens, given to the provider as they are."""

    entry: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")] | None = None
    """`module:function`, an async generator function that is given the task and yields events."""
    options: dict[str, JsonValue] = {}
    """For the function, as they are."""

    command: tuple[str, ...] = ()
    """The program and its arguments; `{prompt}` in them is the task's prompt."""
    env: dict[str, str] = {}
    """For the command, besides what every program in the sandbox gets; `${NAME}` as for an MCP server."""
    patterns: dict[Name, Pattern] = {}
    """What to extract from the lines: the group `value`, or the first group, or the whole match."""

    @model_validator(mode="after")
    def _of_its_engine(self) -> "Agent":
        for name in sorted(self.model_fields_set & _ONLY.keys()):
            if self.engine not in _ONLY[name]:
                raise ValueError(f"{name} is for the engine {_ONLY[name][0]}, not for {self.engine}")
        if self.engine == "python" and self.entry is None:
            raise ValueError('the engine python needs entry = "module:function"')
        if self.engine == "process" and not self.command:
            raise ValueError('the engine process needs command = ["program", …]')
        return self


class Agents(_Table):
    """The whole file: `[agents.NAME]` tables."""

    agents: dict[AgentName, Agent]


DEFAULT = Agents(
    agents={
        "demo": Agent(
            engine="demo", description="Plans by fixed rules and really uses tools; needs no key, no network."
        )
    }
)
"""What there is without a file. The script engine is not listed: it plays any events it is given."""
