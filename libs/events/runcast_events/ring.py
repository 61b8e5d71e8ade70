"""An attempt's events by producer sequence: those that wait for their acknowledgement, and before them those that were
acknowledged lately, kept because a store that is restored or fails over may have lost them. Pure."""

from collections import deque
from dataclasses import dataclass

from runcast_events.codec import Encoded
from runcast_events.log import Write


@dataclass(slots=True)
class Item:
    """`acknowledged_at`: monotonic seconds; 0 while it waits. `joined`: it is sent in one batch with the next."""

    sequence: int
    event: Encoded
    writes: tuple[Write, ...] = ()
    acknowledged_at: float = 0.0
    joined: bool = False

    @property
    def size(self) -> int:
        return len(self.event.payload)


class Ring:
    """Sequences count 1, 2, 3 … without a hole. `waiting_bytes` is what back-pressure looks at: what was acknowledged
    never holds a producer up, since it is dropped instead."""

    def __init__(self, keep_bytes: int, keep_s: float) -> None:
        self._keep_bytes, self._keep_s = keep_bytes, keep_s
        self._items: deque[Item] = deque()
        self._kept_bytes = 0
        self.last = self.acknowledged = 0
        self.waiting_bytes = 0

    @property
    def waiting(self) -> int:
        return self.last - self.acknowledged

    def push(self, event: Encoded, writes: tuple[Write, ...] = (), *, joined: bool = False) -> Item:
        """`joined`: the next one is pushed before a batch is chosen."""
        self.last += 1
        item = Item(self.last, event, writes, joined=joined)
        self._items.append(item)
        self.waiting_bytes += item.size
        return item

    def batch(self, events: int, size: int) -> list[Item]:
        """The oldest waiting items, at least one if any waits."""
        chosen: list[Item] = []
        for index in range(len(self._items) - self.waiting, len(self._items)):
            item = self._items[index]
            size -= item.size
            if chosen and not chosen[-1].joined and (len(chosen) >= events or size < 0):
                break
            chosen.append(item)
        return chosen

    def acknowledge(self, batch: list[Item], now: float) -> None:
        """The batch, and with it everything before it, is in the log."""
        for index in range(len(self._items) - self.waiting, len(self._items)):
            item = self._items[index]
            if item.sequence > batch[-1].sequence:
                break
            item.acknowledged_at = now
            self.waiting_bytes -= item.size
            self._kept_bytes += item.size
        self.acknowledged = batch[-1].sequence
        while self._items and self._items[0].acknowledged_at:
            if self._kept_bytes <= self._keep_bytes and now - self._items[0].acknowledged_at <= self._keep_s:
                break
            self._kept_bytes -= self._items.popleft().size

    def lost(self, known: int) -> tuple[int, int] | None:
        """First and last sequence that a store which knows up to `known` lacks and the ring no longer has."""
        oldest = self._items[0].sequence if self._items else self.last + 1
        return (known + 1, oldest - 1) if oldest > known + 1 else None

    def rewind(self, known: int, stand_in: Encoded | None = None) -> int:
        """Have everything after `known` wait again. `stand_in` takes the place of the last lost event. Returns the
        sequence up to which the store is to be told that it knows."""
        if (lost := self.lost(known)) is not None:
            assert stand_in is not None
            item = Item(lost[1], stand_in)
            self._items.appendleft(item)
            self.waiting_bytes += item.size
            known = lost[1] - 1
        for item in self._items:
            if item.sequence > known and item.acknowledged_at:
                item.acknowledged_at = 0.0
                self.waiting_bytes += item.size
                self._kept_bytes -= item.size
        self.acknowledged = known
        return known
