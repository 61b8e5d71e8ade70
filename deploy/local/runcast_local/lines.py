"""Events as lines for people, in colour where a terminal shows them."""

import json
from collections.abc import Mapping
from typing import TextIO

WIDTH = 78

# What of an event's payload tells most, by its type; the first of these names where a type is not here.
_TELLING = {
    "task_started": ("worker",),
    "tool_call_start": ("tool_name", "arguments"),
    "tool_call_complete": ("result", "error"),
    "iteration_start": ("iteration",),
    "iteration_complete": ("usage",),
    "connected": ("cursor",),
    "task_complete": ("final_answer",),
}
_ELSE = ("delta", "content", "chunk", "goal", "message", "prompt", "phase_name", "todos", "reason", "error")

_COLOURS = {
    "task_complete": "32",
    "task_failed": "31",
    "task_cancelled": "31",
    "tool_call_start": "36",
    "tool_call_complete": "36",
    "note": "1;33",
}
_QUIET = "2"


def telling(event_type: str, payload: Mapping[str, object]) -> str:
    """One line of at most WIDTH characters that says what the event is about; may be empty."""
    names = _TELLING.get(event_type, _ELSE)
    found = [payload[name] for name in names if payload.get(name) not in (None, "")]
    shown = found if event_type in _TELLING else found[:1]
    text = " ".join(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) for value in shown)
    # Tools print what they like: no control character of theirs reaches the terminal.
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"


class Lines:
    """Writes to `out`, a line at once."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._colours = out, out.isatty()

    def event(self, event_id: str, event_type: str, payload: Mapping[str, object]) -> None:
        plain = f"{event_id:<20} {event_type:<19} {telling(event_type, payload)}".rstrip()
        self._write(plain, _COLOURS.get(event_type, _QUIET if event_type in ("output", "thinking") else ""))

    def control(self, name: str, payload: Mapping[str, object]) -> None:
        """A control frame: not an event, so without an id."""
        self._write(f"{'·':<20} {name:<19} {telling(name, payload)}".rstrip(), _QUIET)

    def note(self, text: str) -> None:
        """Something the reader does, not the stream."""
        self._write(text, _COLOURS["note"])

    def text(self, text: str = "") -> None:
        self._write(text, "")

    def _write(self, line: str, colour: str) -> None:
        print(f"\x1b[{colour}m{line}\x1b[0m" if self._colours and colour else line, file=self._out, flush=True)
