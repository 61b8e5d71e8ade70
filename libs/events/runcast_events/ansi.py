"""Terminal escape sequences in text: colours, cursor moves, titles. Pure."""

import re

# Each alternative stops at the next escape character, so that the time is linear in the text, whatever it holds.
_ESCAPE = re.compile(
    "\x1b(?:"
    "\\[[0-?]*[ -/]*[@-~]"  # CSI: colours and cursor
    "|\\][^\x07\x1b]*(?:\x07|\x1b\\\\)?"  # OSC: titles and links
    "|[PX^_][^\x1b]*(?:\x1b\\\\)?"  # other strings
    "|[ -/]*[0-~]"  # everything shorter
    ")?"
)


def strip_ansi(text: str) -> str:
    """The text as it reads without its escape sequences."""
    return _ESCAPE.sub("", text) if "\x1b" in text else text
