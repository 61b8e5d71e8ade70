"""The stub's own models, by name: what each answers is a function of the request and how often it was made. Pure."""

import json
import re
from collections.abc import Callable
from typing import Any

from pydantic import JsonValue

from runcast_local.model.asked import Asked
from runcast_local.model.script import (
    Answer,
    Call,
    Cut,
    Piece,
    Raw,
    Refusal,
    Refuse,
    Say,
    Silence,
    Stall,
    Turn,
    says,
    thinks,
)

SLOW_S = 0.1
LIKED = ("list_folder", "list_files", "search")
"""Tools that look and change nothing: called where the prompt names none."""
CALLS = 3
QUOTED = 400
"""Characters of a tool's result that the answer quotes."""
FLOOD = 2000

_PLAIN: dict[str, JsonValue] = {
    "string": "stub",
    "integer": 1,
    "number": 1.0,
    "boolean": False,
    "array": [],
    "object": {},
}
_TELLING: dict[str, JsonValue] = {"path": ".", "pattern": "*", "command": "ls -la", "query": "the", "percent": 50}


def stub(asked: Asked) -> Turn:
    """Thinks, calls tools side by side, then quotes what they said. A prompt that names tools has those called, with
    the JSON object that follows a name as its arguments: `Use shell {"command": "date"} and list_files`."""
    if asked.results:
        quoted = "\n".join(f"- {result[:QUOTED]}" for result in asked.results)
        return Turn(says(f"This is what the tools said:\n{quoted}\nThat is all."))
    calls = _calls(asked)
    if calls:
        names = " and ".join(call.name for call in calls)
        return Turn([*thinks("The tools will know."), *says(f"I ask {names}."), *calls])
    return Turn([*thinks("No tool is needed."), *says(f"You said: {asked.prompt[:QUOTED]}")])


def _slow(asked: Asked) -> Turn:
    return Turn(stub(asked).pieces, pause_s=SLOW_S)


def _think(asked: Asked) -> Turn:
    long = " ".join(f"Step {number}: I consider it from another side." for number in range(1, 21))
    return Turn([*thinks(long), *stub(asked).pieces])


def _bad_arguments(asked: Asked) -> Turn:
    """Once; when the error was told, well."""
    told = len(asked.results)
    if told == 0:
        return Turn([Call(call.name, '{"path": "unfinished') for call in _calls(asked)[:1]] or says("No tools here."))
    return Turn(_calls(asked)[:1]) if told == 1 else stub(asked)


def _unknown_tool(asked: Asked) -> Turn:
    return stub(asked) if asked.results else Turn([Call("no_such_tool", {"path": "."})])


def _loop(asked: Asked) -> Turn:
    return Turn(_calls(asked)[:1] or says("No tools here."))


def _flood(asked: Asked, count: int) -> Turn:
    return Turn([Say("flood ")] * count)


def _half(end: Piece) -> Callable[[Asked], Turn]:
    """Some text, and then that instead of the rest."""
    return lambda asked: Turn([*says("I begin to answer, but"), end, *says(" this is never said.")])


_OVERFLOW = "This model's maximum context length is 8192 tokens. However, your messages resulted in 99999 tokens."
_SAYING: dict[str, Callable[[Asked], Answer]] = {
    "stub": stub,
    "stub-slow": _slow,
    "stub-think": _think,
    "stub-bad-args": _bad_arguments,
    "stub-unknown-tool": _unknown_tool,
    "stub-loop": _loop,
}
_FAULTS: dict[str, Callable[[Asked], Answer]] = {
    "stub-429": lambda _: Refusal(429, "Rate limit reached.", "requests", "rate_limit_exceeded", retry_after_s=1),
    "stub-500": lambda _: Refusal(500, "The server had an error.", "server_error"),
    "stub-503": lambda _: Refusal(503, "The engine is overloaded.", "server_error"),
    "stub-401": lambda _: Refusal(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "stub-context": lambda _: Refusal(400, _OVERFLOW, "invalid_request_error", "context_length_exceeded"),
    "stub-timeout": lambda _: Silence(),
    "stub-stall": _half(Stall()),
    "stub-cut": _half(Cut()),
    "stub-half": _half(Cut(clean=True)),
    "stub-nonsense": _half(Raw('{"choices": [{"delta": {"content": "unfin')),
    "stub-no-chunk": _half(Raw('{"choices": "none", "object": 7}')),
    "stub-error": _half(Raw('{"error": {"message": "The engine died.", "type": "server_error", "code": null}}')),
    "stub-empty": lambda _: Turn(),
    "stub-refuse": lambda _: Turn([Refuse("I cannot "), Refuse("help with that.")]),
    "stub-filter": lambda _: Turn(says("It begins well"), finish="content_filter"),
    "stub-length": lambda _: Turn(says("It is too long to"), finish="length"),
}
_TRANSIENT = {"stub-429": 2, "stub-500": 2, "stub-503": 2}
"""After so many faults the request is answered well; the other faults last. `stub-cut-1`: that one only once."""

NAMES = (*_SAYING, *_FAULTS, "stub-flood")


def character(name: str) -> Callable[[Asked, int], Answer] | None:
    """What a model of that name answers to a request, the how-manieth time it is made in a row, from 0."""
    if name in _SAYING:
        saying = _SAYING[name]
        return lambda asked, _: saying(asked)
    found = re.fullmatch(r"(.+?)(?:-(\d{1,6}))?", name) if name not in _FAULTS else re.fullmatch(r"(.+)()", name)
    if found is None or (found[1] not in _FAULTS and found[1] != "stub-flood"):
        return None
    count = int(found[2]) if found[2] else None
    if found[1] == "stub-flood":
        return lambda asked, _: _flood(asked, FLOOD if count is None else count)
    fault, times = _FAULTS[found[1]], _TRANSIENT.get(found[1]) if count is None else count
    # In turns, so that the next task with the same words meets the faults as well.
    return lambda asked, made: fault(asked) if times is None or made % (times + 1) < times else stub(asked)


def _calls(asked: Asked) -> list[Call]:
    tools = asked.tools
    named = {name: found for name in tools if (found := re.search(rf"\b{re.escape(name)}\b", asked.prompt))}
    chosen = sorted(named, key=lambda name: named[name].start())
    chosen = chosen or [name for name in LIKED if name in tools] or list(tools)[:2]
    return [Call(name, _given(asked.prompt, named.get(name)) or example(tools[name])) for name in chosen[:CALLS]]


def _given(prompt: str, found: re.Match[str] | None) -> dict[str, JsonValue] | None:
    """The JSON object that follows a tool's name."""
    rest = prompt[found.end() :].lstrip() if found else ""
    try:
        value, _ = json.JSONDecoder().raw_decode(rest)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def example(schema: dict[str, Any]) -> dict[str, JsonValue]:
    """Arguments that fit a simple schema: its required properties."""
    properties = schema.get("properties") or {}
    return {name: _example(name, properties.get(name) or {}) for name in schema.get("required") or ()}


def _example(name: str, schema: dict[str, Any]) -> JsonValue:
    fixed: list[JsonValue] = [schema[key] for key in ("const", "default") if key in schema]
    fixed += [schema[key][0] for key in ("enum", "examples") if schema.get(key)]
    if fixed:
        return fixed[0]
    if name in _TELLING:
        return _TELLING[name]
    kind = schema.get("type")
    if kind == "object":
        return example(schema)
    return _PLAIN.get(kind if isinstance(kind, str) else "string", "stub")
