"""What one write to a client carries: the frames of events that its filter shows, and where it then stands. Pure."""

from dataclasses import dataclass

from runcast_events.continuity import Gap
from runcast_events.ids import EventId
from runcast_events.keys import SessionKeys
from runcast_events.states import TERMINAL_EVENTS
from runcast_gateway import sse
from runcast_gateway.cursor import Filter


@dataclass(frozen=True, slots=True)
class Target:
    """What is streamed. `task_id`: only this task, to its end; the stream closes there."""

    keys: SessionKeys
    session_id: str
    filter: Filter
    task_id: str | None = None

    @property
    def snapshot_url(self) -> str:
        """Where a client finds the state of things after a gap."""
        return f"/api/sessions/{self.session_id}"

    def ends_with(self, event_type: str, task_id: str) -> bool:
        """Whether nothing of the stream can follow this event."""
        if event_type == "session_deleted":
            return True
        return self.task_id is not None and task_id == self.task_id and event_type in TERMINAL_EVENTS


class Batch:
    """Filled event by event, in order. `hidden`: the last event was left out, so the client's own cursor is behind.
    `events` and `size`: how many are shown, and their bytes."""

    __slots__ = ("cursor", "ended", "events", "frames", "hidden", "size", "target")

    def __init__(self, target: Target, cursor: EventId) -> None:
        self.target, self.cursor = target, cursor
        self.frames: list[bytes] = []
        self.events = self.size = 0
        self.hidden = self.ended = False

    def passes(self, event_id: EventId, event_type: str, task_id: str) -> bool:
        """Move past an event. True: it is shown, and its frame is to be added with `show`."""
        self.cursor = event_id
        self.ended = self.target.ends_with(event_type, task_id)
        self.hidden = not self.target.filter.shows(event_type, task_id)
        return not self.hidden

    def show(self, frame: bytes) -> None:
        self.frames.append(frame)
        self.events += 1
        self.size += len(frame)

    def gap(self, gap: Gap) -> None:
        """Gaps are never hidden."""
        self.frames.append(sse.gap(gap, self.target.snapshot_url))
        self.cursor, self.hidden = gap.to, False

    def end(self) -> None:
        """Say that the stream is over, and where."""
        if self.hidden:
            self.frames.append(sse.control("cursor", {}, self.cursor))
            self.hidden = False
        self.frames.append(sse.control("end", {}, self.cursor))
