"""What an agent sees of a server's tools: names, arguments, results."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import CallToolResult
from pydantic import JsonValue, ValidationError

from runcast_worker.mcp.results import result_of
from runcast_worker.mcp.tool import ServersArguments, tool_name
from runcast_worker.mcp.variables import Unset, resolve

NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,31}", fullmatch=True)


@given(NAMES, st.text(min_size=1))
def test_every_name_is_one_that_models_take(server: str, tool: str) -> None:
    """Whatever the server calls its tool."""
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,64}", tool_name(server, tool))


def test_names_that_are_cut_stay_different() -> None:
    """By a digest; others stay as they are."""
    long = "a" * 100
    assert tool_name("my", "read") == "my_read"
    assert tool_name("my", f"{long}1") != tool_name("my", f"{long}2")


def test_arguments_are_any_object() -> None:
    """The server checks them; the schema that the model is shown cannot be changed by who reads it."""
    assert ServersArguments.model_validate({"a": [1, None]}).root == {"a": [1, None]}
    with pytest.raises(ValidationError):
        ServersArguments.model_validate([1])
    ServersArguments.model_json_schema()["type"] = "array"
    assert ServersArguments.model_json_schema() == {"type": "object"}


TEXT = {"type": "text", "text": "one"}
FILE = {"type": "resource", "resource": {"uri": "file:///a", "mimeType": "text/plain", "text": "inside"}}
BLOB = {"type": "resource", "resource": {"uri": "file:///b", "mimeType": "image/png", "blob": "MTIzNA=="}}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"content": []}, ""),
        ({"content": [TEXT, TEXT]}, "one\none"),
        ({"content": [TEXT], "structuredContent": {"a": 1}}, {"a": 1}),
        ({"content": [TEXT], "structuredContent": {"result": [1]}}, [1]),
        (
            {"content": [FILE, BLOB]},
            [
                {"type": "resource", "uri": "file:///a", "mime_type": "text/plain", "text": "inside"},
                {"type": "resource", "uri": "file:///b", "mime_type": "image/png", "bytes": 4},
            ],
        ),
        (
            {
                "content": [TEXT, {"type": "resource_link", "uri": "file:///c", "name": "c"}],
                "structuredContent": {"a": 1},
            },
            {"structured": {"a": 1}, "content": [{"type": "resource_link", "uri": "file:///c", "name": "c"}]},
        ),
    ],
)
def test_results_are_json(answer: dict[str, object], expected: JsonValue) -> None:
    """Structured content before text; binary content is described."""
    assert result_of(CallToolResult.model_validate(answer)) == expected


def test_variables_are_taken_from_the_environment() -> None:
    """Anywhere in a value; one that is not set is named, and so is what needs it."""
    given = {"Authorization": "Bearer ${A}-${B}", "plain": "$A {A}"}
    assert resolve(given, {"A": "1", "B": "${A}"}) == {"Authorization": "Bearer 1-${A}", "plain": "$A {A}"}
    with pytest.raises(Unset, match=r"Authorization needs \$\{B\}, which is not set"):
        resolve(given, {"A": "1"})
