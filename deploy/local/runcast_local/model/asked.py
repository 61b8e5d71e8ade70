"""What the stub was asked, and what became of it."""

import json
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

HIDDEN = {"authorization", "api-key", "x-api-key", "cookie"}


class StreamOptions(BaseModel):
    include_usage: bool = False


class Completion(BaseModel):
    """The body of a request for a completion: what the stub looks at."""

    model_config = ConfigDict(extra="allow")

    model: str
    messages: list[dict[str, Any]] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    tools: list[dict[str, Any]] | None = None


@dataclass(slots=True)
class Asked:
    """One request. `number`: from 1. `headers`: without keys. Times are CLOCK_MONOTONIC in seconds, None for what has
    not happened: `sent_at` of the first byte of the answer, `ended_at` of its end, `left_at` when the client was seen
    to have closed the connection before that. `outcome`: answered, refused, cut, left; None while it goes on."""

    number: int
    completion: Completion
    headers: dict[str, str]
    at: float = field(default_factory=monotonic)
    sent_at: float | None = None
    ended_at: float | None = None
    left_at: float | None = None
    outcome: str | None = None

    @property
    def model(self) -> str:
        return self.completion.model

    @property
    def messages(self) -> list[dict[str, Any]]:
        return self.completion.messages

    @property
    def tools(self) -> dict[str, dict[str, Any]]:
        """The JSON schema of the arguments of each function that is offered, by name."""
        functions = [tool.get("function", {}) for tool in self.completion.tools or ()]
        return {str(each.get("name")): each.get("parameters") or {} for each in functions}

    @property
    def prompt(self) -> str:
        """The text of the last message of the user's."""
        return next((text_of(message) for message in reversed(self.messages) if message.get("role") == "user"), "")

    @property
    def results(self) -> list[str]:
        """Of the tool calls since the last message of the user's."""
        found: list[str] = []
        for message in reversed(self.messages):
            if message.get("role") == "user":
                break
            if message.get("role") == "tool":
                found.insert(0, text_of(message))
        return found

    @property
    def key(self) -> str:
        """The same for a request that is made again."""
        return f"{self.model} {json.dumps(self.messages, sort_keys=True)}"


def text_of(message: dict[str, Any]) -> str:
    """Of a message whose content is a text, or parts of which some are texts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


def shown_headers(raw: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """As text; that there is a key is shown, the key is not."""
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}
    return {name: "(hidden)" if name in HIDDEN else value for name, value in headers.items()}
