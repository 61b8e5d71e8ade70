"""Servers of further tools."""

from typing import Annotated

from pydantic import BaseModel, Field, model_validator

from runcast_agents.table import TABLE


class McpServer(BaseModel):
    """A server of tools: a command that talks MCP over its pipes, or the URL of one that talks streamable HTTP.
    `${NAME}` in `env` and `headers` is taken from the worker's environment, so that no secret stands in the file."""

    model_config = TABLE

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
        if self.command and "/" in self.command[0] and not self.command[0].startswith("/"):
            said = "expected an absolute path, or the name of a program on the worker's PATH"
            raise ValueError(f"command names the program {self.command[0]!r}, which is relative; {said}")
        if self.url and self.env:
            raise ValueError("env is for a command; a url has headers")
        if self.command and self.headers:
            raise ValueError("headers are for a url; a command has env")
        return self
