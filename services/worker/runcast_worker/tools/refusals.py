"""Why a call's arguments are refused, in words from which a model can mend them. Pure."""

import json
from typing import Any

from pydantic import JsonValue, ValidationError

from runcast_worker.tools import ARGUMENTS_BYTES, Tool, ToolFailed
from runcast_worker.tools.excerpt import json_bytes

DEPTH = 64
"""Levels of lists and objects in arguments."""
PROBLEMS = 20
"""Wrong fields that are told."""


def check_size(arguments: dict[str, JsonValue]) -> None:
    """Raises ToolFailed where no event could hold them."""
    if _deeper(arguments, DEPTH):
        raise ToolFailed("invalid_arguments", f"the arguments are nested too deep; expected at most {DEPTH} levels")
    try:
        size = json_bytes(arguments)
    except ValueError as error:
        raise ToolFailed("invalid_arguments", f"the arguments cannot be written as JSON: {error}") from None
    if size > ARGUMENTS_BYTES:
        message = f"the arguments take {size} bytes as JSON; expected at most {ARGUMENTS_BYTES}"
        raise ToolFailed("invalid_arguments", message)


def _deeper(value: JsonValue, levels: int) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(not levels or _deeper(item, levels - 1) for item in items)


def unparsable(raw: str, tool: Tool | None) -> ToolFailed:
    """Of what a model said instead of a JSON object."""
    try:
        value = json.loads(raw)
        why = f"they are {_NAMES.get(type(value), 'something else')}"
    except json.JSONDecodeError as error:
        why = f"{error.msg} at character {error.pos + 1} of {len(raw)}"
    except (ValueError, RecursionError):
        why = "they are nested too deep, or hold a number that is too long"
    return ToolFailed("invalid_arguments", f"the arguments are no JSON object: {why}; {_expected(tool)}")


def invalid(error: ValidationError, tool: Tool) -> ToolFailed:
    """Of arguments that do not fit their model."""
    problems = [f"{'.'.join(map(str, e['loc'])) or 'arguments'}: {e['msg']}" for e in error.errors()[:PROBLEMS]]
    return ToolFailed("invalid_arguments", f"{'; '.join(problems)}; {_expected(tool)}")


_NAMES = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false", type(None): "null"}


def _expected(tool: Tool | None) -> str:
    if tool is None:
        return "expected a JSON object"
    schema = tool.arguments.model_json_schema()
    required = set(schema.get("required", ()))
    fields = [
        f"{name}: {_kind(field)}{' (required)' if name in required else ''}"
        for name, field in list(schema.get("properties", {}).items())[:PROBLEMS]
    ]
    return f"expected an object with {', '.join(fields)}" if fields else "expected an empty object"


def _kind(field: dict[str, Any]) -> str:
    if "enum" in field:
        return " | ".join(json.dumps(value, ensure_ascii=False) for value in field["enum"][:PROBLEMS])
    choices = field.get("anyOf", field.get("oneOf"))
    if choices:
        return " or ".join(_kind(choice) for choice in choices[:PROBLEMS])
    return str(field.get("type", "object" if "$ref" in field else "any value"))
