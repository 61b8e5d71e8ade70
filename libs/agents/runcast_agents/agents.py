"""`agents.toml`: which agents there are and what each may do. A wrong file is refused at start, with what was wrong."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

ToolName = Literal["shell", "read_file", "write_file", "list_files", "search"]
AgentName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]


class InvalidAgents(ValueError):
    """The agents file cannot be read, is not TOML, or does not fit this model."""


class Agent(BaseModel):
    """One agent. Engines that play or run what the file says come only from here, never from a request."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    engine: Literal["demo", "script"]
    description: str = ""
    tools: tuple[ToolName, ...] = ("shell", "read_file", "write_file", "list_files", "search")
    workspace: Path | None = None
    """A folder that all sessions share, instead of one per session. Relative to the agents file."""
    read_only: bool = False
    """Tools that could change the workspace are refused."""


class Agents(BaseModel):
    """The whole file: `[agents.NAME]` tables."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agents: dict[AgentName, Agent]


DEFAULT = Agents(
    agents={
        "demo": Agent(
            engine="demo", description="Plans by fixed rules and really uses tools; needs no key, no network."
        )
    }
)
"""What there is without a file. The script engine is not listed: it plays any events it is given."""


def load_agents(path: Path | None) -> dict[str, Agent]:
    """The agents by name. `path` None: the demo agent alone. Raises InvalidAgents."""
    if path is None:
        return DEFAULT.agents
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise InvalidAgents(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidAgents(f"{path}: not TOML: {error}") from error
    try:
        agents = Agents.model_validate(document).agents
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidAgents(f"{path}: {problems}") from error
    folder = path.resolve().parent
    return {name: _resolve(agent, folder) for name, agent in agents.items()}


def _resolve(agent: Agent, folder: Path) -> Agent:
    return agent if agent.workspace is None else agent.model_copy(update={"workspace": folder / agent.workspace})
