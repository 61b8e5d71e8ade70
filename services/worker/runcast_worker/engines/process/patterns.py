"""What is extracted from a program's lines. re2 takes time in proportion to the line and to the pattern: bounded, but
with many large patterns seconds for one line, so that what may take long does not run in the event loop."""

import asyncio
from collections.abc import Mapping
from typing import Any

from runcast_agents.patterns import compile_pattern
from runcast_events.ansi import strip_ansi
from runcast_events.events import Extraction

VALUE_CHARS = 8192
INLINE = 200_000
"""Characters times instructions of patterns, a few ns each, that are looked through in the event loop between two turns
of others."""


class Patterns:
    """Of one agent: by name, in the order of the agents file."""

    def __init__(self, patterns: Mapping[str, str]) -> None:
        self._patterns = {name: compile_pattern(pattern) for name, pattern in patterns.items()}
        self._instructions = sum(pattern.programsize for pattern in self._patterns.values())
        self._taken = 0

    async def extract(self, line: str, line_num: int) -> list[Extraction]:
        """What `found` says; in a thread where it may take long. A thread that is cancelled ends by itself."""
        if not self._patterns:
            return []
        self._taken += len(line) * self._instructions
        if self._taken <= INLINE:
            return self.found(line, line_num)
        self._taken = 0
        return await asyncio.to_thread(self.found, line, line_num)

    def found(self, line: str, line_num: int) -> list[Extraction]:
        """At most one of each pattern: its first match in the line, read without escape sequences. A pattern whose
        group took no part in the match extracts nothing."""
        extractions = []
        plain = strip_ansi(line)
        for name, pattern in self._patterns.items():
            match = pattern.search(plain)
            value = None if match is None else match.group(_group(pattern))
            if value is not None:
                extractions.append(Extraction(pattern=name, value=value[:VALUE_CHARS], line_num=line_num))
        return extractions


def _group(pattern: Any) -> str | int:
    if "value" in pattern.groupindex:
        return "value"
    return 1 if pattern.groups else 0
