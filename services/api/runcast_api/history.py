"""A page of a session's past, read from the log in slices so that its bytes are bounded."""

from dataclasses import dataclass

from runcast_events.codec import with_id
from runcast_events.continuity import Gap, follows, gap_before
from runcast_events.ids import EventId
from runcast_events.keys import SessionKeys
from runcast_events.reader import LogReader, Tail
from runcast_tasks.errors import NotFound, SessionDeleted

SLICE = 50
"""Events read at once, of up to 64 KiB each."""
PAGE_BYTES = 4 * 1024 * 1024
"""A page ends early with the event that crosses this."""


@dataclass(frozen=True, slots=True)
class History:
    """`lines`: events as JSON with their ids. `gap`: stands before the first. `next`: the last id where the log has
    more."""

    lines: list[bytes]
    next: EventId | None
    gap: Gap | None

    def as_json(self) -> bytes:
        next_id = b"null" if self.next is None else b'"%b"' % str(self.next).encode()
        gap = b"" if self.gap is None else b',"gap":%b' % _gap(self.gap)
        return b'{"data":[%b],"next":%b%b}' % (b",".join(self.lines), next_id, gap)

    def as_ndjson(self) -> bytes:
        """One event a line. A gap is a line of its own, `{"gap":{…}}`, the first."""
        lines = self.lines if self.gap is None else [b'{"gap":%b}' % _gap(self.gap), *self.lines]
        return b"".join(line + b"\n" for line in lines)


def _gap(gap: Gap) -> bytes:
    return f'{{"from":"{gap.since}","to":"{gap.to}","reason":"{gap.reason}"}}'.encode()


async def read_history(reader: LogReader, keys: SessionKeys, session_id: str, after: EventId, limit: int) -> History:
    """Up to `limit` events after the cursor `after`. A break in the log is never crossed in silence: it is the page's
    `gap`, or the page ends before it. Raises NotFound, SessionDeleted."""
    cursor, size = after, 0
    lines: list[bytes] = []
    gap: Gap | None = None
    while True:
        page = await reader.page(keys, cursor, min(SLICE, limit - len(lines)))
        _check(page.tail, session_id)
        if not page.entries:
            if lines or gap is not None or (gap := _gap_at_end(cursor, page.tail)) is None:
                return History(lines, None, gap)
            gap = await reader.settle(keys, gap)
            cursor = gap.to
            continue
        for entry in page.entries:
            if not follows(cursor, entry.id, entry.prev):
                if lines or gap is not None:
                    return History(lines, cursor, gap)
                gap = await reader.settle(keys, gap_before(cursor, entry))
                cursor = gap.to  # after a rollback it lies below what was read
                break
            lines.append(with_id(entry.id, entry.payload))
            cursor, size = entry.id, size + len(entry.payload)
            if size >= PAGE_BYTES or len(lines) == limit:
                return History(lines, cursor if cursor < page.tail.id else None, gap)


def _check(tail: Tail, session_id: str) -> None:
    if tail.deleted is not None:
        raise SessionDeleted(session_id)
    if not tail.exists:
        raise NotFound("session", session_id)


def _gap_at_end(cursor: EventId, tail: Tail) -> Gap | None:
    """Where the log has nothing after the cursor: right at its end, beyond it, or the store lost the entries."""
    if cursor == tail.id:
        return None
    return Gap(cursor, tail.id, "unknown_cursor" if cursor > tail.id else "gone")
