"""Patterns of a process agent: what is looked for in its lines, by re2."""

from typing import Annotated, Any

import re2
from pydantic import AfterValidator, Field

PATTERN_BYTES = 1024 * 1024
"""What a pattern's automaton may take; so re2's time for a line is bounded by the line's length times this."""
PATTERNS = 32
"""Of one agent."""


def compile_pattern(pattern: str) -> Any:
    """A pattern of a process agent, by re2: linear time, so that no line can stall a worker. Raises ValueError."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PATTERN_BYTES
    try:
        return re2.compile(pattern, options)  # type: ignore[no-untyped-call]
    except re2.error as error:
        said = error.args[0].decode(errors="replace") if error.args and isinstance(error.args[0], bytes) else error
        raise ValueError(f"not a pattern (re2 syntax, without look-around and back references): {said}") from None


def _pattern(pattern: str) -> str:
    compile_pattern(pattern)
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_pattern)]
