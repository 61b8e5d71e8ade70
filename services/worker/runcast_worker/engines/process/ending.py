"""How a program's end is told: its answer, or why it failed. Pure."""

import signal
from collections import deque

from runcast_events.ansi import strip_ansi
from runcast_worker.sandbox.reasons import why_killed

LINES = 50
CHARS = 8192
"""Of the output's end at most this much is an answer, or stands in an error."""


class Ending:
    """Shown every line. `wanted`: the agent has a pattern `answer`, so that only its extractions are answers."""

    def __init__(self, *, wanted: bool) -> None:
        self._wanted = wanted
        self._extracted = ""
        self._lines: deque[str] = deque(maxlen=LINES)

    def line(self, line: str) -> None:
        self._lines.append(strip_ansi(line).rstrip())

    def extracted(self, value: str) -> None:
        self._extracted = value

    @property
    def answer(self) -> str:
        """The last extraction named `answer`; where there is no such pattern, the end of the output."""
        return self._extracted if self._wanted else self._end(LINES)

    def failure(self, exit_code: int, killed: str | None) -> str:
        """In a sentence, with the last lines."""
        if killed is not None:
            said = f"the command was killed: {why_killed(killed)}"
        elif exit_code < 0:
            said = f"the command was ended by {_signal(-exit_code)}"
        else:
            said = f"the command ended with exit code {exit_code}"
        end = self._end(10)
        return f"{said}; its last lines:\n{end}" if end else f"{said}; it printed nothing"

    def _end(self, lines: int) -> str:
        return "\n".join(list(self._lines)[-lines:]).strip()[-CHARS:]


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
