"""What a client is streamed: which log, which of its events, in which form."""

from dataclasses import dataclass, field

from runcast_events.entry import RawEntry
from runcast_events.keys import SessionKeys
from runcast_events.states import TERMINAL_EVENTS
from runcast_gateway.dialects import sse
from runcast_gateway.dialects.dialect import Dialect
from runcast_gateway.streams.filter import Filter


@dataclass(frozen=True, slots=True)
class Target:
    """`task_id`: only this task, to its end; the stream closes there. Clients with equal targets get equal bytes."""

    keys: SessionKeys
    session_id: str
    filter: Filter
    task_id: str | None = None
    dialect: Dialect = field(default=sse)

    @property
    def snapshot_url(self) -> str:
        """Where a client finds the state of things after a gap."""
        return f"/api/sessions/{self.session_id}"

    @property
    def whole(self) -> bool:
        """Whether every event of the log is shown, and only its end is the stream's."""
        return self.task_id is None and self.filter.shows_all

    def ends_with(self, entry: RawEntry) -> bool:
        """Whether nothing of the stream can follow this event."""
        if entry.type == b"session_deleted":
            return True
        if self.task_id is None:
            return False
        return entry.task_id == self.task_id.encode() and entry.type.decode() in TERMINAL_EVENTS
