"""One log as a process follows it: a cursor, and who is given what comes after it. No I/O here.

A channel keeps no events. Who cannot take one when it comes remembers where it stood and reads the log itself, until
its cursor is the channel's again.
"""

import asyncio
from collections.abc import Hashable, Iterable
from typing import Protocol

from runcast_events.continuity import follows, predecessor
from runcast_events.entry import Entry, Publication, RawEntry
from runcast_events.ids import EventId
from runcast_events.keys import SessionKeys
from runcast_events.reader import Tail


class Follower(Protocol):
    """Somebody who stands where the channel stands."""

    def deliver(self, entries: list[RawEntry], at_ms: int) -> None:
        """What comes next, in order and whole; the channel's cursor already stands after it. `at_ms`: when the last of
        it was appended. Must not block, nor raise."""
        ...

    def break_off(self) -> None:
        """The log does not go on from the channel's cursor: read for yourself what it has, from there."""
        ...


class Channel:
    """`raw_cursor` is empty until the log's tail was read once; then it is the id of the last event given away.

    `users`: how many want this channel kept. `deleted`: the id of the log's session_deleted."""

    __slots__ = ("deleted", "followers", "keys", "raw_cursor", "started", "total_bytes", "users")

    def __init__(self, keys: SessionKeys) -> None:
        self.keys = keys
        self.raw_cursor = b""
        self.total_bytes = 0
        self.deleted: EventId | None = None
        self.users = 0
        self.followers: dict[Hashable, Follower] = {}
        """By whatever tells them apart."""
        self.started: asyncio.Future[None] | None = None
        """Done with the first reading of the tail; made by whoever waits for it."""

    @property
    def cursor(self) -> EventId:
        return EventId.decode(self.raw_cursor)

    def start(self, tail: Tail) -> None:
        """The tail was read for the first time."""
        self.raw_cursor, self.total_bytes, self.deleted = tail.id.encode(), tail.total_bytes, tail.deleted
        if self.started is not None and not self.started.done():
            self.started.set_result(None)
        self.started = None

    def fail(self, error: Exception) -> None:
        """The tail cannot be read: whoever waits for it is told."""
        if self.started is not None and not self.started.done():
            self.started.set_exception(error)
        self.started = None

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
            follower.break_off()
        self.raw_cursor = to.encode()
        self.total_bytes = 0  # unknown from here: until an entry tells, everything counts as missing

    def _give_run(self, run: list[Entry]) -> None:
        if run:
            last = run[-1]
            self._give([entry.raw for entry in run], last.id.encode(), last.at_ms, last.total_bytes)

    def _give(self, entries: list[RawEntry], last: bytes, at_ms: int, total_bytes: int) -> None:
        self.raw_cursor, self.total_bytes = last, total_bytes
        if entries[-1].type == b"session_deleted":
            self.deleted = self.cursor
        for follower in tuple(self.followers.values()):
            follower.deliver(entries, at_ms)
