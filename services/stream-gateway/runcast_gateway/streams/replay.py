"""Reading a log for one client: page by page, up to where its channel stands, with gaps where the log breaks off."""

import asyncio
from dataclasses import dataclass
from itertools import accumulate
from time import time_ns
from typing import Any

from runcast_events.continuity import Gap, Reason, follows, gap_before
from runcast_events.entry import RawEntry, decode_entry, raw_entries
from runcast_events.ids import EventId
from runcast_events.reader import FIRST_PAGE, PAGE, PAGE_BYTES, LogReader, RawPage
from runcast_gateway.streams.batch import Batch
from runcast_gateway.streams.target import Target
from runcast_service.tracing import Tracer, current_span
from runcast_tasks.errors import NotFound
from runcast_tasks.record import Records

WRITE_BYTES = 256 * 1024
"""About so much is read and written at once: what a client that stops reading can make us hold."""

CAREFUL_PAGE = 256
UNRECORDED = Tracer()
SENT = 3
"""Turns of the event loop until what was asked for has left: the task begins, its command is written, it is sent."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to write next. `gap`: the one that `batch` ends with. `beyond`: the log has events that the channel's cursor
    has not come to."""

    batch: Batch
    gap: Gap | None
    beyond: bool


class Replay:
    """One client's way through the log."""

    def __init__(
        self, target: Target, reader: LogReader, records: Records, begun: bool = False, tracer: Tracer = UNRECORDED
    ) -> None:
        """`begun`: the cursor is one that the log once had; else it is a stranger's word, and this the stream's first
        replay, which is a span."""
        self._target, self._reader, self._records, self._begun = target, reader, records, begun
        self._tracer = UNRECORDED if begun else tracer
        self._began_ns, self._events = time_ns(), 0
        self._count = FIRST_PAGE
        self._ahead: tuple[EventId, asyncio.Task[RawPage]] | None = None

    async def read(self, cursor: EventId, limit: EventId, *, ahead: bool = False) -> Step:
        """Read on from `cursor`, up to `limit`: what lies beyond the channel gives its followers, and the client with
        them. `ahead`: have the store look for the page after this one meanwhile. Raises RedisError, OSError."""
        page = await self._page(cursor, ahead)
        batch = Batch(self._target, cursor.encode())
        gap, beyond = _choose(page, batch, limit)
        if gap is None and not beyond and batch.cursor == cursor:
            gap = await self._break_at(page, cursor)
        if gap is not None:
            gap = await self._reader.settle(self._target.keys, gap)
            batch.gap(gap)
            batch.ended = await self._is_over(gap, page)
        elif page.tail.deleted == batch.cursor:
            batch.ended = True
        self._begun = True
        self._events += batch.events
        return Step(batch, gap, beyond)

    def close(self) -> None:
        """It has come to its end. The span is made now: none is held open for a client that takes its time."""
        self._drop_ahead()
        if self._tracer.records:
            about: dict[str, str | int] = {"gen_ai.conversation.id": self._target.session_id}
            if self._target.task_id is not None:
                about["runcast.task.id"] = self._target.task_id
            parent = current_span().traceparent or None
            self._tracer.tell("replay", parent, self._began_ns, {**about, "runcast.events": self._events})

    def _drop_ahead(self) -> None:
        if self._ahead is not None:
            (_, page), self._ahead = self._ahead, None
            page.cancel()
            if page.done() and not page.cancelled():
                page.exception()  # nobody else will ask for it

    async def _page(self, cursor: EventId, ahead: bool) -> RawPage:
        if self._ahead is not None and self._ahead[0] == cursor:
            (_, coming), self._ahead = self._ahead, None
            page = await coming
        else:
            self._drop_ahead()
            page = await self._reader.raw_page(self._target.keys, cursor, self._count)
        self._count = _page_count(page, self._count)
        if ahead and page.raws and page.missing_bytes:
            last = EventId.decode(page.raws[-1][0])
            self._ahead = last, asyncio.create_task(self._reader.raw_page(self._target.keys, last, self._count))
            for _ in range(SENT):
                await asyncio.sleep(0)
        return page

    async def _break_at(self, page: RawPage, cursor: EventId) -> Gap | None:
        """Nothing follows the cursor here: is it because the log no longer has it, or lost what follows?"""
        tail = page.tail
        if tail.id < cursor:  # and the tail was read after the cursor was set
            reason: Reason = "gone" if not tail.exists else "rewound" if self._begun else "unknown_cursor"
            return Gap(cursor, tail.id, reason)
        if tail.id > cursor and not page.raws:
            again = await self._reader.page(self._target.keys, cursor, 1)  # it may have been appended just now
            if not again.entries and again.tail == tail:
                return Gap(cursor, tail.id, "trimmed")
        return None

    async def _is_over(self, gap: Gap, page: RawPage) -> bool:
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


def _choose(page: RawPage, batch: Batch, limit: EventId) -> tuple[Gap | None, bool]:
    """Fill the batch up to `limit`, or to a break: the gap there, and whether there is more beyond the limit."""
    if not page.raws:
        return None, False
    if page.bytes > WRITE_BYTES:
        page = RawPage(_fitting(page.raws), page.tail)
    if page.continues(batch.cursor) and EventId.decode(page.raws[-1][0]) <= limit:
        batch.add(raw_entries(page.raws))
        return None, False
    cursor = batch.cursor
    entries: list[RawEntry] = []
    for entry in map(decode_entry, page.raws):
        if entry.id > limit:
            batch.add(entries)
            return None, not batch.ended
        if not follows(cursor, entry.id, entry.prev):
            batch.add(entries)
            return None if batch.ended else gap_before(cursor, entry), False
        cursor = entry.id
        entries.append(entry.raw)
    batch.add(entries)
    return None, False


def _fitting(raws: list[list[Any]]) -> list[list[Any]]:
    """As many of these entries as are to be written at once."""
    sizes = [len(fields[-1]) for _, fields in raws]
    return [raw for raw, before in zip(raws, accumulate(sizes, initial=0), strict=False) if before < WRITE_BYTES]


def _page_count(page: RawPage, before: int) -> int:
    """How many entries like this page's make about WRITE_BYTES. Those that come may be of any size: where all that is
    missing would be too much for one reply, the guess is a careful one."""
    if not page.raws:
        return FIRST_PAGE
    average = max(1, page.bytes // len(page.raws))  # a log that was rolled back may count backwards
    most = PAGE if page.missing_bytes <= PAGE_BYTES else min(CAREFUL_PAGE, 4 * before)
    return max(4, min(most, WRITE_BYTES // average))
