"""What is wrong with a key of an agents file, in the words of TOML: pydantic's own are Python's (dictionary, tuple)."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from runcast_agents.agents import Agent, Agents, EngineName
from runcast_agents.limits import Limits, SandboxPolicy
from runcast_agents.servers import McpServer

KEY = "[key]"
"""In a place of pydantic's: not the value is wrong, but the key before it."""

_TABLE = "expected a table"
_STRING = "expected a string, in quotes"
_WHOLE = "expected a whole number"
_NUMBER = "expected a number"
_SWITCH = "expected true or false"
_KINDS = {
    "tuple_type": 'expected a list, such as ["…"]',
    "dict_type": _TABLE,
    "model_type": _TABLE,
    "string_type": _STRING,
    "path_type": _STRING,
    "int_type": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": _WHOLE,
    "int_from_float": _WHOLE,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "expected a finite number",
    "bool_type": _SWITCH,
    "bool_parsing": _SWITCH,
    "invalid-json-value": "expected a string, a number, true, false, a list or a table",
}
_BOUNDS = {
    "greater_than_equal": "expected {ge} or more",
    "greater_than": "expected more than {gt}",
    "less_than_equal": "expected at most {le}",
    "too_short": "expected {min_length} or more in it",
    "too_long": "expected at most {max_length} in it",
    "string_too_short": "expected a string that is not empty",
    "string_too_long": "expected at most {max_length} characters",
}
_ENGINES = ", ".join(get_args(EngineName))
_MISSING = {"agents": "a table [agents.NAME]", "engine": f"one of {_ENGINES}"}
_AGENT_NAME = "expected a name of 1 to 32 of a-z, 0-9, _ and -, which begins with a letter or a digit"
_NAME = "expected a name of at most 32 letters, digits, _ and -, which begins with a letter"
_FORMS = {
    "entry": 'expected "module:function"',
    "fetch_allow": 'expected "host:port", such as "docs.internal:8080", in lower case',
    "url": "expected http://… or https://…",
}


def told(error: ErrorDetails) -> str:
    """The mistake, and what was expected; what the models themselves say stays as it is."""
    loc, kind = error["loc"], error["type"]
    given: Mapping[str, Any] = error.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(loc)
    if kind == "missing":
        expected = _MISSING.get(str(loc[-1]))
        return f"is missing; expected {expected}" if expected else "is missing"
    if kind == "string_pattern_mismatch":
        return _misshapen(loc) or error["msg"]
    if kind == "too_short" and loc == ("agents",):
        return f"is empty; expected {_MISSING['agents']}"
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(**given)
    return _KINDS.get(kind) or error["msg"].removeprefix("Value error, ")


def _misshapen(loc: tuple[int | str, ...]) -> str | None:
    if loc[-1] == KEY:
        return _AGENT_NAME if len(loc) == 3 else _NAME
    field = next((part for part in reversed(loc) if isinstance(part, str)), "")
    return _FORMS.get(field)


def _unknown(loc: tuple[int | str, ...]) -> str:
    model = _model(loc[:-1])
    if model is Agents:
        return "no such key; expected tables [agents.NAME] alone"
    close = get_close_matches(str(loc[-1]), model.model_fields, n=1)
    maybe = f" (did you mean {close[0]}?)" if close else ""
    return f"no such key{maybe}; expected one of {', '.join(model.model_fields)}"


def _model(table: tuple[int | str, ...]) -> type[BaseModel]:
    """Of the table at this place."""
    match table:
        case ():
            return Agents
        case (_, _, "limits"):
            return Limits
        case (_, _, "sandbox"):
            return SandboxPolicy
        case (_, _, "mcp", _):
            return McpServer
    return Agent
