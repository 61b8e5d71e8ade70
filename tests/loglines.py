"""Lines that a process logs as JSON, read as a collector of logs reads them."""

import json
from collections.abc import Iterable
from typing import Any

LINE_BYTES = 16 * 1024
"""What container runtimes take for a line: they cut a longer one into several."""


def parsed(lines: Iterable[str | bytes]) -> list[dict[str, Any]]:
    """Every line, which must be an object, with what each must say."""
    found = []
    for line in lines:
        fields = json.loads(line)
        assert fields.keys() >= {"timestamp", "level", "message", "logger", "service", "version"}, line
        assert len(line) < LINE_BYTES
        found.append(fields)
    return found


def bad(lines: Iterable[str | bytes]) -> list[dict[str, Any]]:
    """Those that tell of an error of ours."""
    return [
        fields
        for fields in parsed(lines)
        if fields["level"] in ("error", "critical") or "exception" in fields or "Traceback" in fields["message"]
    ]
