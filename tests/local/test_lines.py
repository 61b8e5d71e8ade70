"""Events as lines for people."""

import io

import pytest

from runcast_local.lines import WIDTH, Lines, telling


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("event_type", "payload", "line"),
    [
        ("output", {"part_id": "1", "delta": "hello", "offset": 0}, "hello"),
        ("tool_call_start", {"tool_name": "shell", "arguments": {"c": "ls"}}, 'shell {"c": "ls"}'),
        ("tool_call_complete", {"result": None, "error": {"code": "x"}}, '{"code": "x"}'),
        ("task_failed", {"error": "no model", "kind": "engine"}, "no model"),
        ("iteration_start", {"iteration": 0}, "0"),
        ("thinking_start", {"part_id": "1"}, ""),
        ("an_event_of_next_year", {"message": "new"}, "new"),
    ],
)
def test_a_line_says_what_the_event_is_about(event_type: str, payload: dict[str, object], line: str) -> None:
    """Also of events that this version does not know."""
    assert telling(event_type, payload) == line


def test_a_long_text_is_cut_to_the_line() -> None:
    """One event is one line, whatever a tool printed."""
    line = telling("tool_call_stream", {"chunk": "x" * 1000})
    assert (len(line), line[-1]) == (WIDTH, "…")


def test_nothing_of_a_tool_controls_the_terminal() -> None:
    """Escapes and line ends are shown as blanks."""
    assert telling("output", {"delta": "a\x1b[2J\r\nb\x9bc"}) == "a [2J  b c"


def test_colours_are_for_terminals() -> None:
    """A file or a pipe gets plain text."""
    plain, terminal = io.StringIO(), Terminal()
    for out in (plain, terminal):
        Lines(out).event("1-1", "task_failed", {"error": "no model"})
        Lines(out).note("dropped")
    assert plain.getvalue() == f"1-1{' ' * 18}task_failed{' ' * 9}no model\ndropped\n"
    assert terminal.getvalue().startswith("\x1b[31m1-1")
    assert terminal.getvalue().count("\x1b[0m\n") == 2
