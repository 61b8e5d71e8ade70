"""Frames as JSON, a line each: what WebSocket messages are. Pure. The form is that of the api's NDJSON history.

An event is its payload with the id in front. A control frame has its name as a member, which no event has.
"""

import json
from collections.abc import Iterable, Mapping

from runcast_events.entry import RawEntry
from runcast_events.ids import EventId

NAME = "ndjson"
HEARTBEAT = b""
"""Nothing: a WebSocket is kept alive by pings, which are the server's."""


def events(entries: Iterable[RawEntry]) -> list[bytes]:
    """The frames of events of the log. Their payloads are objects on one line, and are not parsed."""
    return [b'{"id":"%b",%b\n' % (entry[0], entry[3][1:]) for entry in entries]


def control(
    name: str, data: Mapping[str, object], position: EventId | None = None, retry_ms: int | None = None
) -> bytes:
    """A frame that the gateway makes itself: `{"id": …, "<name>": {…}, "retry": ms}`."""
    frame: dict[str, object] = {} if position is None else {"id": str(position)}
    frame[name] = data
    if retry_ms is not None:
        frame["retry"] = retry_ms
    return json.dumps(frame, separators=(",", ":")).encode() + b"\n"
