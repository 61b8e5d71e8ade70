"""One client's stream. It owns a cursor, not a queue: what the client's socket does not take stays in the log.

Live it is a member of a group and has no task; its cursor is the channel's. A socket that is full takes it out of the
group, at an exact cursor; when there is room again it catches up from the log, and rejoins where the two cursors are
one, in the same turn of the event loop.
"""

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from runcast_events.ids import START, EventId
from runcast_gateway.streams.batch import Batch, portions
from runcast_gateway.streams.group import CURSOR_EVERY_S, Group
from runcast_gateway.streams.replay import Replay, Step
from runcast_gateway.transports.handover import Receiver
from runcast_service.backlog import untaken

if TYPE_CHECKING:
    from runcast_gateway.streams.connections import Connections

logger = logging.getLogger(__name__)

STORE_AWAY_S = 0.5
BEHIND_S = 0.01
"""A moment for the channel to come to where the client is already."""


class Connection(Receiver):
    """`cursor` is where a connection stands that is not live. `behind_since`: monotonic seconds, 0 where nothing is
    missing. `reason`: why it ends, once it does."""

    __slots__ = (
        "_begun", "_catching_up", "_connections", "_room", "_transport", "behind_since",
        "cursor", "expires_at", "group", "handed_over", "hidden", "live", "look_at", "opened_at", "paused", "principal",
        "reason", "request_id",
    )  # fmt: skip

    def __init__(self, connections: "Connections", group: Group, cursor: EventId, principal: str) -> None:
        super().__init__()
        self._connections, self.group, self.cursor, self.principal = connections, group, cursor, principal
        self._transport: asyncio.Transport | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self.expires_at = self.look_at = self.opened_at = self.behind_since = 0.0
        self.request_id = ""
        self.hidden = self.live = self.paused = self.handed_over = False
        self._begun = False
        self.reason = ""

    def open(self, transport: asyncio.Transport, first: bytes, *, handed_over: bool = False) -> None:
        """The response has started: say `first`, and begin. `handed_over`: the transport is the socket's own."""
        self._transport, self.handed_over = transport, handed_over
        if self.paused:  # it was when it was handed over
            self._connections.watch(self, transport)
        self._write(first)
        self._go_on()

    def write(self, framed: bytes) -> None:
        """Of a live connection: to its socket."""
        self._transport.write(framed)  # type: ignore[union-attr]

    def finish(self, reason: str) -> None:
        """End the stream as it should end, after what was written."""
        if self.reason or self._transport is None:
            return
        self._stop(reason)
        self._transport.write(self.group.framing.END)
        self._transport.close()
        self._connections.watch(self, self._transport)  # a client that takes nothing would keep it for ever

    def drain(self, why: str) -> None:
        """End the stream between two frames and have the client come back."""
        if self.reason or self._transport is None:
            return
        if self.live and self.group.hidden_since:
            self._write(self.group.cursor_frame())
        elif not self.live and self.hidden:
            self._say_where_it_stands()
        self._write(self.group.target.dialect.control("draining", {"reason": why}))
        self.finish("draining")

    def abort(self, reason: str) -> None:
        """End it now, with whatever is still on the way."""
        self._stop(self.reason or reason)
        if self._transport is not None:
            self._transport.abort()

    def look(self, again_at: float) -> None:
        """For a machine that has vanished: its socket is not full for a long time, and nobody says a word."""
        self.look_at = again_at
        if self._transport is not None and untaken(self._transport):
            self._connections.watch(self, self._transport)

    # --- what the transport tells ----------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        self.paused = True
        if self._transport is not None:
            self._connections.watch(self, self._transport)
        if self.live:
            self._leave_group()
            self.behind_since = monotonic()
            self._connections.metrics.slow.inc()

    def resume_writing(self) -> None:
        self.paused = False
        if not self.reason:
            self._connections.unwatch(self)
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        elif self._catching_up is None:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        """A client has nothing more to say, once it has asked."""

    def eof_received(self) -> bool:
        """The client says no more, but may listen: see transports/half_closed.py."""
        if self._transport is not None and not self.reason:
            self._write(self.group.target.dialect.HEARTBEAT)
            self._connections.half_closed(self, self._transport)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop(self.reason or "gone")
        # A task that was cancelled keeps what it had read, and that us: 256 KiB until a collection, which is rare.
        self._transport = self._catching_up = None
        self.leave()
        self._connections.closed(self)

    # --- how it goes on --------------------------------------------------------------------------------------------

    def broken_off(self) -> None:
        self._leave_group()
        self._read_on()

    def _go_on(self) -> None:
        """To the group if that is where it stands, else to the log."""
        if self.paused or self.reason or self._transport is None:
            return
        if self.cursor == self.group.channel.cursor:
            self._begun = True
            if self.behind_since:
                self._connections.metrics.replay_seconds.observe(monotonic() - self.behind_since)
            self.live, self.cursor, self.behind_since = True, START, 0.0
            self.group.members.append(self)
            if self.hidden:
                self.group.hide()
        else:
            self._read_on()

    def _read_on(self) -> None:
        self.behind_since = self.behind_since or monotonic()
        self._catching_up = self._connections.spawn(self._catch_up())

    def _leave_group(self) -> None:
        self.cursor, self.hidden = self.group.channel.cursor, bool(self.group.hidden_since)
        self.group.members.remove(self)
        self.live = False

    def _stop(self, reason: str) -> None:
        """Whatever it does, it does no longer."""
        self.reason = reason
        if self.live:
            self._leave_group()
        if self._catching_up is not None:
            self._catching_up.cancel()

    async def _catch_up(self) -> None:
        """From the cursor to where the channel stands, at the client's pace."""
        registry = self._connections
        replay = Replay(self.group.target, registry.reader, registry.records, self._begun, registry.tracer)
        ahead = False  # of a client that takes what it is given
        try:
            heard_at = monotonic()
            while self.cursor != self.group.channel.cursor or self.paused:
                if self.paused:
                    await self._has_room()
                    continue
                try:
                    step = await replay.read(self.cursor, self.group.channel.cursor, ahead=ahead)
                except (RedisError, OSError):
                    step = None  # the store is away: the hub tries on, and so do we
                moved = step is not None and await self._send(step)
                ahead = moved and not self.paused
                if step is not None and step.batch.frames:
                    heard_at = monotonic()
                elif monotonic() - heard_at >= (CURSOR_EVERY_S if self.hidden else self.group.heartbeat_s):
                    self._say_where_it_stands()
                    heard_at = monotonic()
                if not moved:
                    self._connections.hub.changed(self.group.channel)
                    await asyncio.sleep(STORE_AWAY_S if step is None else BEHIND_S)
        except Exception:
            logger.exception("a stream cannot go on", extra={"session_id": self.group.target.session_id})
            self.abort("error")
        finally:
            replay.close()
        self._catching_up = None
        self._go_on()

    async def _send(self, step: Step) -> bool:
        """Write what was read; whether it brought the cursor on."""
        batch, metrics = step.batch, self._connections.metrics
        if step.beyond:
            self._connections.hub.changed(self.group.channel)
        if step.gap is not None:
            metrics.gaps.labels(step.gap.reason).inc()
        moved = batch.cursor != self.cursor
        if batch.ended:
            batch.end()
        if batch.frames:
            self.hidden = False  # each frame tells the client where it stands
        for portion in portions(batch.frames):
            if self.paused:
                await self._has_room()
            self._write(portion)
        metrics.replayed.inc(batch.events)
        self._pass(batch)
        return moved or batch.ended

    def _pass(self, batch: Batch) -> None:
        self.cursor, self._begun = batch.cursor, True
        self.hidden = self.hidden or batch.hidden
        if batch.ended:
            self.finish("end")

    def _say_where_it_stands(self) -> None:
        """To a client that is not live: its cursor where filters hid what came, else only that it is still there."""
        dialect = self.group.target.dialect
        self._write(dialect.control("cursor", {}, self.cursor) if self.hidden else dialect.HEARTBEAT)
        self.hidden = False

    async def _has_room(self) -> None:
        """Until the socket takes something again; the registry ends a connection that never does."""
        self._room = asyncio.get_running_loop().create_future()
        try:
            await self._room
        finally:
            self._room = None

    # --- bytes -----------------------------------------------------------------------------------------------------

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(self.group.framing.frame(data))
