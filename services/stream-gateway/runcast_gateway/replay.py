"""Reading a log for one client: page by page, up to where its channel stands, with gaps where the log breaks off."""

from dataclasses import dataclass

from runcast_events.continuity import Gap, Reason, follows, gap_before
from runcast_events.ids import EventId
from runcast_events.reader import FIRST_PAGE, PAGE, LogReader, Page
from runcast_gateway import sse
from runcast_gateway.batch import Batch, Target
from runcast_tasks.errors import NotFound
from runcast_tasks.record import Records

WRITE_BYTES = 256 * 1024
"""About so much is read and written at once: what a client that stops reading can make us hold."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to write next. `gap`: the one that `batch` ends with. `beyond`: the log has events that the channel's cursor
    has not come to."""

    batch: Batch
    gap: Gap | None
    beyond: bool


class Replay:
    """One client's way through the log. `started`: it has read at least once."""

    def __init__(self, target: Target, reader: LogReader, records: Records) -> None:
        self._target, self._reader, self._records = target, reader, records
        self._count = FIRST_PAGE
        self.started = False

    async def read(self, cursor: EventId, limit: EventId | None) -> Step:
        """Read on from `cursor`, up to `limit`: what lies beyond the channel's members will get, and the client with
        them. Raises RedisError, OSError."""
        page = await self._reader.page(self._target.keys, cursor, self._count)
        batch, gap, beyond = self._choose(page, cursor, limit)
        if gap is None and not beyond and batch.cursor == cursor:
            gap = await self._break_at(page, cursor)
        if gap is not None:
            gap = await self._reader.settle(self._target.keys, gap)
            batch.gap(gap)
            batch.ended = await self._is_over(gap, page)
        elif page.tail.deleted == batch.cursor:
            batch.ended = True
        self.started = True
        self._count = _page_count(page)
        return Step(batch, gap, beyond)

    def _choose(self, page: Page, cursor: EventId, limit: EventId | None) -> tuple[Batch, Gap | None, bool]:
        batch = Batch(self._target, cursor)
        for entry in page.entries:
            if limit is not None and entry.id > limit:
                return batch, None, True
            if not follows(batch.cursor, entry.id, entry.prev):
                return batch, gap_before(batch.cursor, entry), False
            if batch.passes(entry.id, entry.type, entry.task_id):
                batch.show(sse.event(entry))
            if batch.ended or batch.size >= WRITE_BYTES:
                break
        return batch, None, False

    async def _break_at(self, page: Page, cursor: EventId) -> Gap | None:
        """Nothing follows the cursor here: is it because the log no longer has it, or lost what follows?"""
        tail = page.tail
        if tail.id < cursor:  # and the tail was read after the cursor was set
            reason: Reason = "gone" if not tail.exists else "rewound" if self.started else "unknown_cursor"
            return Gap(cursor, tail.id, reason)
        if tail.id > cursor and not page.entries:
            again = await self._reader.page(self._target.keys, cursor, 1)  # it may have been appended just now
            if not again.entries and again.tail == tail:
                return Gap(cursor, tail.id, "trimmed")
        return None

    async def _is_over(self, gap: Gap, page: Page) -> bool:
        """Whether the task ended within what the gap leaves out: then nothing of its stream will come."""
        task_id = self._target.task_id
        if task_id is None:
            return False
        try:
            record = await self._records.task(task_id)
        except NotFound:
            # A store that lost everything is made whole by the attempt that runs; what was deleted does not come back.
            return page.tail.deleted is not None
        return record.terminal_id is not None and record.terminal_id <= gap.to


def _page_count(page: Page) -> int:
    """How many entries like this page's make about WRITE_BYTES."""
    if not page.entries:
        return FIRST_PAGE
    average = sum(len(entry.payload) + 100 for entry in page.entries) // len(page.entries)
    return max(4, min(PAGE, WRITE_BYTES // average))
