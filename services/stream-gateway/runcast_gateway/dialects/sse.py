"""Server-sent events as bytes. Pure. Format: https://html.spec.whatwg.org/multipage/server-sent-events.html

Everything that goes into a frame is ours: event types are a closed set, ids are two integers, data is one line of JSON
(an encoder escapes CR and LF), so nothing can forge a field.
"""

import json
from collections.abc import Iterable, Mapping

from runcast_events.entry import RawEntry
from runcast_events.ids import EventId

CONTENT_TYPE = "text/event-stream; charset=utf-8"

_json = json.JSONEncoder(separators=(",", ":")).encode

NAME = "sse"
HEARTBEAT = b":\n"
"""A bare comment line. No blank line after it: some parsers turn that into an empty message."""


def events(entries: Iterable[RawEntry]) -> list[bytes]:
    """The frames of events of the log."""
    return [b"event: %b\nid: %b\ndata: %b\n\n" % (entry[1], entry[0], entry[3]) for entry in entries]


def control(
    name: str, data: Mapping[str, object], position: EventId | None = None, retry_ms: int | None = None
) -> bytes:
    """A frame that the gateway makes itself. With `position` it moves the client's cursor there."""
    lines = [] if retry_ms is None else [f"retry: {retry_ms}"]
    lines.append(f"event: {name}")
    if position is not None:
        lines.append(f"id: {position}")
    lines.append(f"data: {_json(data)}")
    return ("\n".join(lines) + "\n\n").encode()
