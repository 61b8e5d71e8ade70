"""The model of one agent: its engine, what it may use, and how far it may go."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, Field, JsonValue, model_validator

from runcast_agents.limits import Limits, SandboxPolicy
from runcast_agents.patterns import PATTERNS, Pattern
from runcast_agents.servers import McpServer
from runcast_agents.table import TABLE

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


def _with_port(address: str) -> str:
    if not 1 <= int(address.rpartition(":")[2]) <= 65535:
        raise ValueError(f"{address!r} has a port that there is not; expected 1 to 65535")
    return address


HostPort = Annotated[str, Field(pattern=r"^(\[[0-9a-f:.]+\]|[a-z0-9._-]+):[0-9]{1,5}$"), AfterValidator(_with_port)]
PROMPT = "{prompt}"
"""Stands for the task's prompt in a command's arguments."""

_WITH_TOOLS: tuple[EngineName, ...] = ("llm", "python", "demo")
_ONLY: dict[str, tuple[EngineName, ...]] = {
    "tools": _WITH_TOOLS,
    "read_only": _WITH_TOOLS,
    "fetch_allow": _WITH_TOOLS,
    "mcp": _WITH_TOOLS,
    "approve": _WITH_TOOLS,
    "idempotent_tools": _WITH_TOOLS,
    "sandbox": (*_WITH_TOOLS, "process"),
    "instructions": ("llm",),
    "model": ("llm",),
    "models": ("llm",),
    "fallback_models": ("llm",),
    "model_settings": ("llm",),
    "entry": ("python",),
    "options": ("python",),
    "command": ("process",),
    "env": ("process",),
    "restart": ("process",),
    "patterns": ("process",),
}
"""A key that would have no effect is refused: who wrote it expects one."""
_OF_A_PROCESS = ("wall_time_s",)
"""Of the limits. What a program does inside is not counted."""


class Agent(BaseModel):
    """One agent. Engines that play or run what the file says come only from here, never from a request."""

    model_config = TABLE

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
    restart: bool = True
    """Start the command again where its worker died or was deployed in the middle. Else the task fails then."""
    patterns: Annotated[dict[Name, Pattern], Field(max_length=PATTERNS)] = {}
    """What to extract from the lines: the group `value`, or the first group, or the whole match."""

    @model_validator(mode="after")
    def _of_its_engine(self) -> "Agent":
        for name in sorted(self.model_fields_set & _ONLY.keys()):
            if self.engine not in _ONLY[name]:
                raise ValueError(f"{name} is for {_engines(_ONLY[name])}, not for {self.engine}")
        if self.engine == "python" and self.entry is None:
            raise ValueError('the engine python needs entry = "module:function"')
        if self.engine == "process" and not self.command:
            raise ValueError('the engine process needs command = ["program", …]')
        if self.command and PROMPT in self.command[0]:
            raise ValueError(f"command names its program by {PROMPT}; expected a program that this file decides")
        if self.engine == "process":
            for name in sorted(self.limits.model_fields_set.difference(_OF_A_PROCESS)):
                others = [engine for engine in get_args(EngineName) if engine != "process"]
                raise ValueError(f"limits.{name} is for {_engines(others)}, not for process")
        return self

    @model_validator(mode="after")
    def _names_its_tools(self) -> "Agent":
        """A name that is no tool's would let the tool that was meant run unasked."""
        for key, names in (("approve", self.approve), ("idempotent_tools", self.idempotent_tools)):
            for name in names:
                if name not in self.tools and not name.startswith(tuple(f"{server}_" for server in self.mcp)):
                    close = get_close_matches(name, self.tools, n=1)
                    maybe = f" (did you mean {close[0]}?)" if close else ""
                    served = ", or SERVER_TOOL of an MCP server" if self.mcp else ""
                    expected = f"{', '.join(self.tools) or 'none'}{served}"
                    raise ValueError(f"{key}: this agent has no tool {name!r}{maybe}; expected one of {expected}")
        return self


def _engines(names: Sequence[str]) -> str:
    *others, last = names
    return f"the engines {', '.join(others)} and {last}" if others else f"the engine {last}"


class Agents(BaseModel):
    """The whole file: `[agents.NAME]` tables."""

    model_config = TABLE

    agents: dict[AgentName, Agent] = Field(min_length=1)


DEFAULT = Agents(
    agents={
        "demo": Agent(
            engine="demo", description="Plans by fixed rules and really uses tools; needs no key, no network."
        )
    }
)
"""What there is without a file. The script engine is not listed: it plays any events it is given."""
