"""What is extracted from a program's lines. Pure; re2 takes no longer than a line is long, whatever the pattern."""

from collections.abc import Iterator, Mapping
from typing import Any

from runcast_agents.patterns import compile_pattern
from runcast_events.ansi import strip_ansi
from runcast_events.events import Extraction

VALUE_CHARS = 8192


class Patterns:
    """Of one agent: by name, in the order of the agents file."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._patterns = {name: compile_pattern(pattern) for name, pattern in patterns.items()}

    def extract(self, line: str, line_num: int) -> Iterator[Extraction]:
        """At most one of each pattern: its first match in the line, read without escape sequences. A pattern whose
        group took no part in the match extracts nothing."""
        if not self._patterns:
            return
        plain = strip_ansi(line)
        for name, pattern in self._patterns.items():
            match = pattern.search(plain)
            value = None if match is None else match.group(_group(pattern))
            if value is not None:
                yield Extraction(pattern=name, value=value[:VALUE_CHARS], line_num=line_num)


def _group(pattern: Any) -> str | int:
    if "value" in pattern.groupindex:
        return "value"
    return 1 if pattern.groups else 0
