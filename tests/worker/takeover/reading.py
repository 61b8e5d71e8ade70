"""Reading a log by its events."""

import json
from typing import Any

from runcast_events.entry import Entry


def told(log: list[Entry], *types: str) -> list[dict[str, Any]]:
    """The payloads of the events of some types."""
    return [json.loads(entry.payload) for entry in log if entry.type in types]
