"""Live clients of one log that get the same bytes: encoded once, written to each."""

import logging
from time import monotonic
from typing import Protocol

from runcast_events.channel import Channel
from runcast_events.entry import RawEntry
from runcast_events.ids import EventId
from runcast_gateway.metrics import LiveDeliveries
from runcast_gateway.streams.batch import Batch
from runcast_gateway.streams.target import Target
from runcast_gateway.transports.framing import Framing

logger = logging.getLogger(__name__)

CURSOR_EVERY_S = 5.0
"""How long filters may hide events before clients are told where they stand."""


class Member(Protocol):
    """A live client. A call may end its membership."""

    def write(self, framed: bytes) -> None: ...

    def broken_off(self) -> None:
        """The log does not go on from where the channel stands."""
        ...

    def finish(self, reason: str) -> None:
        """Everything was written."""
        ...

    def abort(self, reason: str) -> None:
        """It cannot go on."""
        ...


class Group:
    """A follower of a channel. `members` are those that have all that the channel gave away; `users` counts
    everybody who may become one."""

    __slots__ = (
        "_deliveries", "_whole", "channel", "framing", "heartbeat_s",
        "hidden_since", "members", "target", "users", "wrote_at",
    )  # fmt: skip

    def __init__(
        self, channel: Channel, target: Target, framing: Framing, deliveries: LiveDeliveries, heartbeat_s: float
    ) -> None:
        self.channel, self.target, self.framing = channel, target, framing
        self._deliveries = deliveries
        self._whole = target.whole
        self.heartbeat_s = heartbeat_s
        self.members: list[Member] = []
        self.users = 0
        self.wrote_at = monotonic()
        self.hidden_since = 0.0
        """Since when the members' own cursors are behind, because filters hid what came; 0: they are not."""

    def deliver(self, entries: list[RawEntry], at_ms: int) -> None:
        members = tuple(self.members)
        if not members:
            return
        if self._whole and entries[-1].type != b"session_deleted":  # nearly all there is to deliver
            size = self._write(b"".join(self.target.dialect.events(entries)))
            self._deliveries.note(at_ms, len(entries), size, len(members))
            return
        batch = Batch(self.target, b"")
        batch.add(entries)
        if batch.ended:
            batch.end()
        if batch.frames:
            size = self._write(b"".join(batch.frames))
            self._deliveries.note(at_ms, batch.events, size, len(members))
        if batch.hidden:
            self.hide()
        if batch.ended:
            for member in members:
                member.finish("end")

    def break_off(self, to: EventId) -> None:
        for member in tuple(self.members):
            member.broken_off()

    def hide(self) -> None:
        """The members' own cursors are behind from now on, if they were not already."""
        self.hidden_since = self.hidden_since or monotonic()

    def tick(self, now: float) -> None:
        """Called about once a second: heartbeats, and cursors that filters hold back."""
        silent = now - self.wrote_at >= self.heartbeat_s
        if not self.members:
            return
        if self.hidden_since and (silent or now - self.hidden_since >= CURSOR_EVERY_S):
            self._write(self.cursor_frame())
        elif silent:
            self._write(self.target.dialect.HEARTBEAT)

    def cursor_frame(self) -> bytes:
        return self.target.dialect.control("cursor", {}, self.channel.cursor)

    def _write(self, data: bytes) -> int:
        """To all members; returns the bytes for each. One whose socket is full then leaves within its write."""
        self.wrote_at, self.hidden_since = monotonic(), 0.0
        framed = self.framing.frame(data)
        for member in tuple(self.members):
            try:
                member.write(framed)
            except Exception:
                logger.exception("a client cannot be written to")
                member.abort("error")
        return len(framed)
