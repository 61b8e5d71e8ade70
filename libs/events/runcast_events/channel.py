"""One log as a process follows it: a cursor, and who is given what comes after it. No I/O here.

A channel keeps no events. Who cannot take one when it comes remembers where it stood and reads the log itself, until
its cursor is the channel's again.
"""

import asyncio
import logging
from collections.abc import Hashable, Iterable
from typing import Protocol

from runcast_events.continuity import follows, predecessor
from runcast_events.entry import Entry, Publication, RawEntry
from runcast_events.ids import EventId
from runcast_events.keys import SessionKeys
from runcast_events.reader import Tail

logger = logging.getLogger(__name__)


class Follower(Protocol):
    """Somebody who stands where the channel stands."""

    def deliver(self, entries: list[RawEntry], at_ms: int) -> None:
        """What comes next, in order and whole; the channel's cursor already stands after it. `at_ms`: when the first of
        it was appended. Must not block, nor raise."""
        ...

    def break_off(self, to: EventId) -> None:
        """The log does not go on from the channel's cursor, but from `to`: read for yourself what that leaves out."""
        ...


class Channel:
    """`raw_cursor` is empty until the log's tail was read once; then it is the id of the last event given away.

    `users`: how many want this channel kept. `deleted`: the id of the log's session_deleted."""

    __slots__ = ("_waiting", "deleted", "followers", "keys", "raw_cursor", "total_bytes", "users")

    def __init__(self, keys: SessionKeys) -> None:
        self.keys = keys
        self.raw_cursor = b""
        self.total_bytes = 0
        self.deleted: EventId | None = None
        self.users = 0
        self.followers: dict[Hashable, Follower] = {}
        """By whatever tells them apart."""
        self._waiting: list[asyncio.Future[None]] | None = None

    @property
    def cursor(self) -> EventId:
        return EventId.decode(self.raw_cursor)

    async def started(self) -> None:
        """Returns when there is a cursor, which may be at once. The caller bounds the wait. Raises what `fail` got."""
        if not self.raw_cursor:
            waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if self._waiting is None:
                self._waiting = []
            self._waiting.append(waiting)
            await waiting

    def start(self, tail: Tail) -> None:
        """The tail was read for the first time."""
        self.raw_cursor, self.total_bytes, self.deleted = tail.id.encode(), tail.total_bytes, tail.deleted
        for waiting in self._no_longer_waiting():
            waiting.set_result(None)

    def fail(self, error: Exception) -> None:
        """The tail cannot be read: whoever waits for it is told."""
        for waiting in self._no_longer_waiting():
            waiting.set_exception(error)

    def _no_longer_waiting(self) -> list[asyncio.Future[None]]:
        waiting, self._waiting = self._waiting or [], None
        return [each for each in waiting if not each.done()]

    def publish(self, publication: Publication) -> bool:
        """Give away a publication that continues exactly at the cursor; False where it does not, or carries nothing.
        What the append script publishes is whole in itself."""
        prev, last, at_ms, entries, total_bytes = publication
        if prev != self.raw_cursor or not entries:
            return False
        self._give(entries, last, at_ms, total_bytes)
        return True

    def deliver(self, entries: Iterable[Entry]) -> int:
        """Give away entries that were read. Duplicates are dropped. Returns how often the log broke off."""
        breaks = 0
        cursor = self.cursor
        run: list[Entry] = []
        for entry in entries:
            if entry.id <= cursor:
                continue
            if not follows(cursor, entry.id, entry.prev):
                self._give_run(run)
                self.break_off(predecessor(entry))
                run = []
                breaks += 1
            cursor = entry.id
            run.append(entry)
        self._give_run(run)
        return breaks

    def break_off(self, to: EventId) -> None:
        """What was given last is not before what comes next: tell the followers, and go on from `to`."""
        for follower in tuple(self.followers.values()):
            follower.break_off(to)
        self.raw_cursor = to.encode()
        if self.deleted is not None and to < self.deleted:
            self.deleted = None
        self.total_bytes = 0  # unknown from here: until an entry tells, everything counts as missing

    def _give_run(self, run: list[Entry]) -> None:
        if run:
            last = run[-1]
            self._give([entry.raw for entry in run], last.id.encode(), run[0].at_ms, last.total_bytes)

    def _give(self, entries: list[RawEntry], last: bytes, at_ms: int, total_bytes: int) -> None:
        before, self.raw_cursor, self.total_bytes = self.raw_cursor, last, total_bytes
        if entries[-1].type == b"session_deleted":
            self.deleted = self.cursor
        for follower in tuple(self.followers.values()):
            try:
                follower.deliver(entries, at_ms)
            except Exception:
                # Of this follower alone: the others, and the loop that calls, must not pay for it. It reads the log.
                logger.exception("a follower failed", extra={"log": self.keys.events})
                self.raw_cursor = before
                follower.break_off(EventId.decode(last))
                self.raw_cursor = last
