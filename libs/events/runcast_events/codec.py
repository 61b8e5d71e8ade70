"""Payloads: an event and its envelope as one line of JSON, at most 64 KiB. Pure."""

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from time import time_ns

from pydantic import ValidationError
from pydantic_core import from_json

from runcast_events.errors import InvalidEvent
from runcast_events.events import EVENTS, Event
from runcast_events.states import moves

MAX_PAYLOAD_BYTES = 64 * 1024
TRACED = frozenset(name for name, move in moves().items() if move.to is not None)
"""Events that carry the trace."""

# The one text field of an event that may be cut to fit; the whole is kept elsewhere (record, messages).
_CUTTABLE = {
    "message_added": "content",
    "task_queued": "prompt",
    "task_complete": "final_answer",
    "task_failed": "error",
    "output_complete": "content",
    "think_complete": "content",
    "tool_call_complete": "result",
    "task_analysis": "goal",
    "log": "line",
}


@dataclass(frozen=True, slots=True)
class Encoded:
    """An event ready for the append script."""

    type: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """What every event of one writer carries beside its own fields. `traceparent`: of what the writer works in;
    only events of TRACED carry it: docs/decisions/0021-events-that-move-a-task-carry-its-trace.md."""

    session_id: str
    task_id: str | None = None
    attempt: int | None = None
    traceparent: str | None = None
    _tail: bytes = field(init=False, repr=False)
    _traced_tail: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        fields = {"session_id": self.session_id, "task_id": self.task_id, "attempt": self.attempt}
        for name, more in (("_tail", {}), ("_traced_tail", {"traceparent": self.traceparent})):
            given = {k: v for k, v in (fields | more).items() if v is not None}
            object.__setattr__(self, name, json.dumps(given, separators=(",", ":"))[1:-1].encode())

    def encode(self, event: Event, now: datetime | None = None) -> Encoded:
        """The payload of `event`. Raises InvalidEvent when it cannot be made to fit MAX_PAYLOAD_BYTES or holds text
        that is not valid Unicode."""
        return Encoded(event.event_type, fit(event, self._join(event, _timestamp(now))))

    def _join(self, event: Event, timestamp: bytes) -> bytes:
        try:
            fields = event.__pydantic_serializer__.to_json(event, exclude_unset=True)
        except ValueError as error:
            raise InvalidEvent(f"{event.event_type} cannot be written as JSON: {error}") from error
        kind = event.event_type
        tail = self._traced_tail if kind in TRACED else self._tail
        head = b'{"event_type":"%b","timestamp":"%b",%b' % (kind.encode(), timestamp, tail)
        return head + (b"," + fields[1:] if len(fields) > 2 else b"}")


def _timestamp(now: datetime | None = None) -> bytes:
    """RFC 3339 with milliseconds. Formatting a moment costs more than all else in an event, so a second is kept."""
    ms = time_ns() // 1_000_000 if now is None else int(now.timestamp() * 1000)
    return b"%b.%03dZ" % (_second(ms // 1000), ms % 1000)


@lru_cache(maxsize=8)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").encode()


def fit(event: Event, payload: bytes) -> bytes:
    """The payload itself, or one whose long text field is cut to head and tail, with the whole's `size` (bytes) and
    `sha256` beside it."""
    if len(payload) <= MAX_PAYLOAD_BYTES:
        return payload
    name = _CUTTABLE.get(event.event_type)
    document = json.loads(payload)
    if name is None or name not in document:
        raise InvalidEvent(f"{event.event_type} takes {len(payload)} bytes, the limit is {MAX_PAYLOAD_BYTES}")
    value = document[name]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    whole = text.encode()
    document |= {"size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
    keep = MAX_PAYLOAD_BYTES // 3  # characters; escapes and UTF-8 may make each several bytes, so halve until it fits
    while keep >= 16:
        document[name] = f"{text[: keep * 2 // 3]}\n… {len(whole)} bytes in all …\n{text[-keep // 3 :]}"
        shorter = json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()
        if len(shorter) <= MAX_PAYLOAD_BYTES:
            return shorter
        keep //= 2
    raise InvalidEvent(f"{event.event_type} takes {len(payload)} bytes even without its {name}")


def decode(payload: bytes) -> tuple[dict[str, object], Event]:
    """The whole payload as a mapping, and its event model. Raises InvalidEvent."""
    try:
        document = from_json(payload)
        event = EVENTS[document["event_type"]].model_validate(document)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise InvalidEvent(f"not an event's payload: {payload!r:.200}") from error
    return document, event


def with_id(event_id: object, payload: bytes) -> bytes:
    """The payload with its id in front: the form of JSON pages, NDJSON and WebSocket."""
    return b'{"id":"%b",%b' % (str(event_id).encode(), payload[1:])
