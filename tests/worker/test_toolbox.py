"""The toolbox: whatever a call is given and comes to, its events can be written."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import JsonValue

from runcast_events.codec import Envelope
from runcast_events.events import Event, ToolCallComplete, ToolCallStart, ToolError
from runcast_worker import toolbox as toolbox_module
from runcast_worker.metrics import Metrics
from runcast_worker.toolbox import MESSAGE_BYTES, Toolbox, all_tools
from runcast_worker.tools import ARGUMENTS_BYTES, Surroundings, ToolFailed


@pytest.fixture
async def toolbox(tmp_path: Path) -> AsyncIterator[Toolbox]:
    async def acknowledged() -> None: ...

    async with Toolbox(Surroundings(tmp_path), all_tools(), acknowledged, Metrics()) as box:
        yield box


async def call(toolbox: Toolbox, name: str, **arguments: JsonValue) -> list[Event]:
    """The events of a call, each of which can be written."""
    events = [event async for event in toolbox.call(1, 0, name, arguments)]
    for event in events:
        Envelope("s" * 64, "s" * 64 + ".abcdefghij", 1).encode(event)
    assert (events[0].event_type, events[-1].event_type) == ("tool_call_start", "tool_call_complete")
    return events


def error_of(events: list[Event]) -> ToolError:
    complete = events[-1]
    assert isinstance(complete, ToolCallComplete)
    assert complete.error is not None
    return complete.error


async def test_a_command_that_is_killed_after_much_output_is_told_head_and_tail(toolbox: Toolbox) -> None:
    """The message would not fit into an event, and the whole task would fail."""
    command = "echo first; yes xxxxxxxxxxxxxxx | head -c 200000; echo last; sleep 100"
    error = error_of(await call(toolbox, "shell", command=command, timeout_s=1))
    assert error.code == "timeout"
    assert "first" in error.message
    assert error.message.endswith("last\n")
    assert len(error.message) <= MESSAGE_BYTES


@pytest.mark.parametrize("text", ["x", "\x01", "🎉", '"', "\ud800"])
async def test_a_message_fits_whatever_its_characters_take(
    toolbox: Toolbox, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Escaped, in several bytes, or no Unicode at all."""

    class Fails:
        name = "shell"
        changes = False
        arguments = all_tools()["list_files"].arguments

        async def call(self, *_: object) -> JsonValue:
            raise ToolFailed("failed", text * 100_000)

    monkeypatch.setitem(toolbox._tools, "shell", Fails())
    assert error_of(await call(toolbox, "shell")).code == "failed"


@pytest.mark.parametrize("content", ["a" * ARGUMENTS_BYTES, "\x01" * 20_000, "\ud800"])
async def test_arguments_that_no_event_can_hold_are_refused(toolbox: Toolbox, tmp_path: Path, content: str) -> None:
    """Nothing is run, and the model is told how much it may send."""
    events = await call(toolbox, "write_file", path="a.txt", content=content)
    assert error_of(events).code == "invalid_arguments"
    start = events[0]
    assert isinstance(start, ToolCallStart)
    assert start.arguments == {}
    assert start.raw_arguments is not None
    assert len(start.raw_arguments) <= toolbox_module.SHOWN_CHARS
    assert os.listdir(tmp_path) == []


async def test_a_name_that_no_tool_has_is_cut(toolbox: Toolbox) -> None:
    """It is a model's, and may be anything."""
    events = await call(toolbox, "x" * 100_000)
    assert error_of(events).code == "unknown_tool"
