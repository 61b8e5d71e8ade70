"""What a stub model answers, as data: a script is a list of answers, one for each request. Pure."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from runcast_local.model.asked import Asked

Finish = Literal["stop", "tool_calls", "length", "content_filter"]


@dataclass(frozen=True, slots=True)
class Think:
    """One delta of reasoning (`reasoning_content`)."""

    text: str


@dataclass(frozen=True, slots=True)
class Say:
    """One delta of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Refuse:
    """One delta of a refusal (`refusal`)."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. Its arguments are streamed in deltas of `piece` characters; a str is sent as it is, JSON or not.
    `id`: None for one that is made up from the request's number and the call's index."""

    name: str
    arguments: Mapping[str, JsonValue] | str = field(default_factory=dict)
    id: str | None = None
    piece: int = 16


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Raw:
    """The data of one server-sent event, as it is: for what is no chunk."""

    data: str


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """A comment, as some providers send while they make a client wait."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The stream ends here, without finish_reason and [DONE]. `clean`: as if it were whole, for HTTP; otherwise the
    connection is closed in the middle of the body."""

    clean: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing any more, until the client leaves."""


Piece = Think | Say | Refuse | Call | Pause | Raw | KeepAlive | Cut | Stall


@dataclass(frozen=True, slots=True)
class Turn:
    """A streamed answer. `finish`: None for what fits its pieces. `pause_s`: before each piece. Usage in tokens; None
    for a quarter of the characters; of the input all but the last message counts as cached."""

    pieces: Sequence[Piece] = ()
    finish: Finish | None = None
    pause_s: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error instead of an answer, in OpenAI's form."""

    status: int
    message: str = "made up by the stub"
    type: str = "stub_error"
    code: str | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer, not even headers, until the client leaves."""


Answer = Turn | Refusal | Silence

Script = Sequence[Answer] | Callable[[Asked], Answer]
"""One answer for each request of its model, in order; or what decides by the request."""


def says(text: str) -> list[Piece]:
    """A delta for each word."""
    return [Say(word) for word in _words(text)]


def thinks(text: str) -> list[Piece]:
    return [Think(word) for word in _words(text)]


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+\s*$|\s*\S+|\s+$", text)
