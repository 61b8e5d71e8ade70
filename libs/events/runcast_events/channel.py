"""One log as a process follows it: a cursor, the latest frames, and the live members that read them.

A member owns a position, not a queue: the frames are shared, encoded once, and bounded; a member that falls behind
them leaves the live set and reads the log itself, until its cursor is the channel's again. No I/O here.
"""

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from runcast_events.continuity import follows, predecessor
from runcast_events.entry import Entry, Publication
from runcast_events.ids import EventId
from runcast_events.keys import SessionKeys

RING_ITEMS = 4096
RING_BYTES = 512 * 1024


class Member(Protocol):
    """A live reader. `position`: index of the next item it will take."""

    position: int

    def wake(self) -> None:
        """There is something to take. Must not block."""
        ...


@dataclass(frozen=True, slots=True)
class Item:
    """One event as members take it: `id` is the cursor after it, `frame` the encoded event. `breaks`: no event, but a
    break in the log; what it means for a member, its own replay finds out."""

    id: EventId
    type: str
    task_id: str
    at_ms: int
    frame: bytes
    breaks: bool = False


class Channel:
    """`cursor` is None until the log's tail was read once; then it is the id of the last event given to members."""

    __slots__ = ("_base", "_bytes", "_encode", "_items", "cursor", "keys", "members", "total_bytes", "watchers")

    def __init__(self, keys: SessionKeys, encode: Callable[[Entry], bytes]) -> None:
        self.keys = keys
        self.cursor: EventId | None = None
        self.total_bytes = 0
        self.members: set[Member] = set()
        self.watchers: set[Member] = set()
        """Everybody who wants this channel kept, live or still replaying."""
        self._encode = encode
        self._items: deque[Item] = deque()
        self._base = self._bytes = 0

    def start(self, cursor: EventId, total_bytes: int) -> None:
        """The tail was read for the first time."""
        self.cursor, self.total_bytes = cursor, total_bytes
        for watcher in self.watchers:
            watcher.wake()

    def publish(self, publication: Publication) -> bool:
        """Deliver a publication that continues exactly at the cursor; False where it does not, or carries nothing."""
        if publication.prev != self.cursor or not publication.entries:
            return False
        return self.deliver(publication.entries) == 0

    def deliver(self, entries: Iterable[Entry]) -> int:
        """Give entries of the log to the members. Duplicates are dropped. Returns how often the log broke off."""
        assert self.cursor is not None
        breaks = 0
        for entry in entries:
            if entry.id <= self.cursor:
                continue
            if not follows(self.cursor, entry.id, entry.prev):
                self._push_break(predecessor(entry))
                breaks += 1
            self._push(Item(entry.id, entry.type, entry.task_id, entry.at_ms, self._encode(entry)))
            self.total_bytes = entry.total_bytes
        self._trim()
        self._wake()
        return breaks

    def break_off(self, to: EventId) -> None:
        """What the members saw last is not in the log any more: tell them, and go on from `to`."""
        self._push_break(to)
        self.total_bytes = 0  # unknown from here: until an entry tells, everything counts as missing
        self._trim()
        self._wake()

    def join(self, member: Member) -> None:
        """The member's cursor is the channel's, now, in this turn of the event loop: it is live from here."""
        member.position = self._base + len(self._items)
        self.members.add(member)

    def leave(self, member: Member) -> None:
        """The member is live no more; it may join again."""
        self.members.discard(member)

    def take(self, member: Member) -> list[Item] | None:
        """What is new for a live member. None: it fell behind the ring and is live no more."""
        offset = member.position - self._base
        if offset < 0:
            self.members.discard(member)
            return None
        size = len(self._items)
        member.position = self._base + size
        return [self._items[index] for index in range(offset, size)]

    def _push_break(self, to: EventId) -> None:
        self._push(Item(to, "", "", 0, b"", breaks=True))

    def _push(self, item: Item) -> None:
        self._items.append(item)
        self._bytes += len(item.frame)
        self.cursor = item.id

    def _trim(self) -> None:
        """Drop what every live member has taken, and what exceeds the bounds whether taken or not."""
        taken = min((member.position for member in self.members), default=self._base + len(self._items))
        while self._items and (self._base < taken or len(self._items) > RING_ITEMS or self._bytes > RING_BYTES):
            self._bytes -= len(self._items.popleft().frame)
            self._base += 1

    def _wake(self) -> None:
        for member in self.members:
            member.wake()
        if len(self.watchers) > len(self.members):
            for watcher in self.watchers - self.members:
                watcher.wake()
