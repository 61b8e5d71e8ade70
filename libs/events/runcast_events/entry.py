"""Entries of the log and publications, decoded from the store's bytes. Pure, and the gateway's hot path: the payload
stays the bytes that the writer encoded; nothing here parses JSON."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from runcast_events.errors import EventsError
from runcast_events.ids import EventId
from runcast_events.states import moves


class UndecodableEntry(EventsError):
    """Something in the store was not written by the append script."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event as the log holds it.

    `at_ms`: server time of the append. `total_bytes`: bytes ever appended to this log up to and with this entry.
    `prev`: the id before it, on the first entry of an epoch only. `payload`: one line of JSON.
    """

    id: EventId
    type: str
    task_id: str
    fence: int
    at_ms: int
    total_bytes: int
    prev: EventId | None
    payload: bytes

    @property
    def raw(self) -> "RawEntry":
        return RawEntry(self.id.encode(), self.type.encode(), self.task_id.encode(), self.payload)


def decode_entry(raw: Sequence[object]) -> Entry:
    """From one item of an XRANGE or XREAD reply: `[id, [field, value, ...]]`, all bytes."""
    try:
        event_id, fields = raw
        assert isinstance(event_id, bytes)
        assert isinstance(fields, list)
        values = dict(zip(fields[::2], fields[1::2], strict=True))
        prev = values.get(b"b")
        return Entry(
            EventId.decode(event_id),
            values[b"t"].decode(),
            values[b"k"].decode(),
            int(values[b"f"]),
            int(values[b"a"]),
            int(values[b"s"]),
            None if prev is None else EventId.decode(prev),
            values[b"p"],
        )
    except (AssertionError, KeyError, ValueError, TypeError) as error:
        raise UndecodableEntry(f"not an entry of the append script: {raw!r:.200}") from error


class RawEntry(NamedTuple):
    """An entry as the bytes it came in: all that is needed to pass it on."""

    id: bytes
    type: bytes
    task_id: bytes
    payload: bytes


def raw_entries(raws: Sequence[Sequence[Any]]) -> list[RawEntry]:
    """From the items of an XRANGE or XREAD reply. Relies on the order in which the append script writes the fields."""
    try:
        return [_new(RawEntry, (event_id, fields[1], fields[3], fields[-1])) for event_id, fields in raws]
    except (IndexError, TypeError, ValueError) as error:
        raise UndecodableEntry("not entries of the append script") from error


class Publication(NamedTuple):
    """A fresh batch as Pub/Sub carries it. `prev`: the id before its first event. `entries` is empty when the batch was
    too large to be carried: then it only tells that there is something to read. `total_bytes`: as its last entry's."""

    prev: bytes
    last: bytes
    at_ms: int
    entries: list[RawEntry]
    total_bytes: int


def decode_publication(data: bytes) -> Publication:
    """`<prev> <last> <ms>`, then per event a line `<id> <type> <task | -> <fence> <total bytes>` and a payload line.

    Whatever it is, nothing that is passed on from here can be other than the append script writes it: ids that follow
    one another from `prev`, types that there are, names in ASCII."""
    try:
        lines = data.split(b"\n")
        prev, last, at_ms = lines[0].split(b" ")
        epoch, _, count = prev.partition(b"-")
        n, entries = int(count), []
        event_id, total = last, b"0"
        for index in range(1, len(lines), 2):
            event_id, event_type, task_id, _, total = lines[index].split(b" ")
            n += 1
            if event_id != b"%b-%d" % (epoch, n):
                epoch, n = _opened(event_id, epoch), 1
            if event_type not in _TYPES or not task_id.isascii():
                raise ValueError("no such event")
            task_id = b"" if task_id == b"-" else task_id
            entries.append(_new(RawEntry, (event_id, event_type, task_id, lines[index + 1])))
        if event_id != last:
            raise ValueError("the last event is another")
        return _new(Publication, (prev, last, int(at_ms), entries, int(total)))
    except (ValueError, IndexError) as error:
        raise UndecodableEntry(f"not a publication of the append script: {data!r:.200}") from error


def _opened(event_id: bytes, before: bytes) -> bytes:
    """The epoch that this first event of another one opens. Raises ValueError."""
    epoch, _, n = event_id.partition(b"-")
    if n != b"1" or not epoch.isdigit() or int(epoch) <= int(before):
        raise ValueError("the events do not follow one another")
    return epoch


_TYPES = frozenset(name.encode() for name in moves())
_new = tuple.__new__
"""A named tuple's own constructor is a Python function, which costs as much as the rest of a publication."""
