"""Whether one event is the next one, told from ids alone. Pure; the heart of guarantee 2.

Inside an epoch the next event is `(epoch, n + 1)`. A newer epoch's first event names the id before it (`prev`).
Anything else is a gap, and `prev` below the cursor says that the store was rolled back.
"""

from dataclasses import dataclass
from typing import Literal

from runcast_events.entry import Entry
from runcast_events.ids import START, EventId

Reason = Literal["trimmed", "rewound", "unknown_cursor", "gone"]


@dataclass(frozen=True, slots=True)
class Gap:
    """A break in what a client sees: it had `since`, the stream goes on after `to`.

    `to` below `since` (the store was rolled back): what the client had after `to` is void, and the stream shows what
    the log has there now.
    """

    since: EventId
    to: EventId
    reason: Reason


def follows(cursor: EventId, event_id: EventId, prev: EventId | None) -> bool:
    """True if the event is exactly the next one after `cursor`."""
    if event_id.epoch == cursor.epoch:
        return event_id.n == cursor.n + 1
    return event_id.n == 1 and event_id.epoch > cursor.epoch and prev == cursor


def predecessor(entry: Entry) -> EventId:
    """The id right before an entry: where a stream that shows this entry next stands."""
    if entry.id.n > 1:
        return EventId(entry.id.epoch, entry.id.n - 1)
    return START if entry.prev is None else entry.prev


def gap_before(cursor: EventId, entry: Entry) -> Gap:
    """What to tell a client at `cursor` to whom `entry`, the first that the log has after it, does not follow."""
    to = predecessor(entry)
    return Gap(cursor, to, "rewound" if to < cursor else "trimmed")
