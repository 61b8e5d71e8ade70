"""What one write to a client carries: the frames of events that its filter shows, and where it then stands. Pure."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate

from runcast_events.continuity import Gap
from runcast_events.entry import RawEntry
from runcast_events.ids import EventId
from runcast_gateway.streams.target import Target

PORTION_BYTES = 64 * 1024
"""Written at once; then the socket is asked whether it is full."""


class Batch:
    """Filled in order. `raw_cursor`: the last event's id. `hidden`: that event was left out, so the client's own cursor
    is behind. `events`: how many are shown."""

    __slots__ = ("ended", "events", "frames", "hidden", "raw_cursor", "target")

    def __init__(self, target: Target, raw_cursor: bytes) -> None:
        self.target, self.raw_cursor = target, raw_cursor
        self.frames: list[bytes] = []
        self.events = 0
        self.hidden = self.ended = False

    @property
    def cursor(self) -> EventId:
        return EventId.decode(self.raw_cursor)

    def add(self, entries: Sequence[RawEntry]) -> None:
        """Move past these events, showing those that the filter lets through; what follows the stream's end is left
        out."""
        if not entries:
            return
        target = self.target
        if target.whole:
            shown, last = entries, entries[-1]
            self.hidden = False
        else:
            shown, last = self._choose(entries)
        self.frames += target.dialect.events(shown)
        self.events += len(shown)
        self.raw_cursor = last.id
        self.ended = target.ends_with(last)

    def _choose(self, entries: Sequence[RawEntry]) -> tuple[list[RawEntry], RawEntry]:
        shown = []
        for entry in entries:
            self.hidden = not self.target.filter.shows(entry.type.decode(), entry.task_id.decode())
            if not self.hidden:
                shown.append(entry)
            if self.target.ends_with(entry):
                return shown, entry
        return shown, entries[-1]

    def gap(self, gap: Gap) -> None:
        """Gaps are never hidden."""
        data = {
            "from": str(gap.since),
            "to": str(gap.to),
            "reason": gap.reason,
            "snapshot_url": self.target.snapshot_url,
        }
        self.frames.append(self.target.dialect.control("gap", data, gap.to))
        self.raw_cursor, self.hidden = gap.to.encode(), False

    def end(self) -> None:
        """Say that the stream is over, and where."""
        if self.hidden:
            self.frames.append(self.target.dialect.control("cursor", {}, self.cursor))
            self.hidden = False
        self.frames.append(self.target.dialect.control("end", {}, self.cursor))


def portions(frames: list[bytes]) -> Iterator[bytes]:
    """The frames joined to portions of about PORTION_BYTES; a larger frame comes alone."""
    ends = list(accumulate(map(len, frames)))
    start = written = 0
    while start < len(frames):
        end = max(start + 1, bisect_right(ends, written + PORTION_BYTES))
        yield b"".join(frames[start:end])
        start, written = end, ends[end - 1]
