"""One client's stream. It owns a cursor, not a queue: what it has not taken yet stays in the log.

Replaying it reads pages at its own pace; it goes live only when its cursor is the channel's, in the same turn of the
event loop. Live it takes shared frames; when it falls behind them it replays again. `run` shows all it can do.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic, time

from redis.exceptions import RedisError

from runcast_events.channel import Channel, Item
from runcast_events.continuity import Gap, Reason, follows, gap_before
from runcast_events.hub import Hub
from runcast_events.ids import EventId
from runcast_events.keys import SessionKeys
from runcast_events.reader import FIRST_PAGE, PAGE, LogReader, Page
from runcast_events.states import TERMINAL_EVENTS
from runcast_gateway import sse
from runcast_gateway.cursor import Filter
from runcast_gateway.metrics import Metrics

Write = Callable[[bytes], Awaitable[None]]
CURSOR_EVERY_S = 5.0
"""How long filters may hide events before the client is told where it stands."""
STORE_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """What is streamed. `task_id`: only this task, to its end; the stream closes there. `snapshot_url`: where a client
    finds the state of things after a gap."""

    keys: SessionKeys
    session_id: str
    filter: Filter
    task_id: str | None = None

    @property
    def snapshot_url(self) -> str:
        return f"/api/sessions/{self.session_id}"


@dataclass(frozen=True, slots=True)
class Greeting:
    """What the first frame says beside the position."""

    server: str
    client_id: str
    retry_ms: int


class Connection:
    """A member of a channel. `write` sends bytes to the client and returns when they were taken over."""

    def __init__(
        self,
        target: Target,
        cursor: EventId,
        greeting: Greeting,
        *,
        hub: Hub,
        reader: LogReader,
        metrics: Metrics,
        heartbeat_s: float,
    ) -> None:
        self._target, self.cursor, self._greeting = target, cursor, greeting
        self._hub, self._reader, self._metrics = hub, reader, metrics
        self._heartbeat_s = heartbeat_s * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        self.position = 0
        self.live = False
        self.sending_since: float | None = None
        self._wrote_at = self._shown_at = monotonic()
        self._hidden = False
        self._ended = self._first_read = False
        self._closing: str | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._write_bytes: Write | None = None

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self, reason: str) -> None:
        """End the stream as soon as it is not sending: `gone` (the client), `draining`."""
        self._closing = self._closing or reason
        self.wake()

    def tick(self, now: float) -> None:
        """Called about once a second for all connections: one timer per process, not per client."""
        if now - self._wrote_at >= self._heartbeat_s or (self._hidden and now - self._shown_at >= CURSOR_EVERY_S):
            self.wake()

    async def run(self, write: Write) -> str:
        """Everything a connection does, until it ends; returns why: `end`, `gone`, `draining`."""
        self._write_bytes = write
        channel = self._hub.watch(self._target.keys, self)
        try:
            await self._send(self._connected())
            while not self._ended:
                if self._closing is not None:
                    if self._closing == "draining":
                        await self._say_draining()
                    return self._closing
                if self.live:
                    items = channel.take(self)
                    if items is None:
                        self.live = False
                    elif items:
                        await self._deliver(items)
                    else:
                        await self._wait()
                elif channel.cursor is None:
                    await self._wait()
                elif channel.cursor == self.cursor and self._first_read:
                    channel.join(self)
                    self.live = True
                else:
                    await self._replay(channel)
            return "end"
        finally:
            self._hub.unwatch(channel, self)

    # --- waiting and writing -------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Until there is something to do; meanwhile keep the line alive."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        now = monotonic()
        if self._hidden and (now - self._shown_at >= CURSOR_EVERY_S or now - self._wrote_at >= self._heartbeat_s):
            await self._send_cursor()
        elif now - self._wrote_at >= self._heartbeat_s:
            await self._send(sse.HEARTBEAT)

    async def _send(self, data: bytes) -> None:
        assert self._write_bytes is not None
        self.sending_since = monotonic()
        await self._write_bytes(data)
        self._wrote_at, self.sending_since = monotonic(), None

    async def _send_cursor(self) -> None:
        await self._send(sse.control("cursor", {}, self.cursor))
        self._shown(hidden=False)

    async def _say_draining(self) -> None:
        if self._hidden:
            await self._send_cursor()
        await self._send(sse.control("draining", {}))

    def _shown(self, hidden: bool) -> None:
        """Remember whether the client's own cursor is behind ours because filters hid what came since."""
        if not hidden or not self._hidden:
            self._shown_at = monotonic()
        self._hidden = hidden

    def _connected(self) -> bytes:
        data = {
            "session_id": self._target.session_id,
            "cursor": str(self.cursor),
            "server": self._greeting.server,
            "client_id": self._greeting.client_id,
        }
        return sse.control("connected", data, self.cursor, self._greeting.retry_ms)

    # --- live ----------------------------------------------------------------------------------------------------

    async def _deliver(self, items: list[Item]) -> None:
        frames: list[bytes] = []
        shown = 0
        hidden = False
        for item in items:
            self.cursor = item.id
            hidden = item.gap is None and not self._target.filter.shows(item.type, item.task_id)
            if item.gap is not None:
                frames.append(self._gap_frame(item.gap))
            elif not hidden:
                frames.append(item.frame)
                shown += 1
            if self._ends(item.type, item.task_id):
                break
        if at_ms := items[-1].at_ms:
            self._metrics.delivery_seconds.observe(max(0.0, time() - at_ms / 1000))
        await self._flush(frames, shown, hidden)

    # --- replay --------------------------------------------------------------------------------------------------

    async def _replay(self, channel: Channel) -> None:
        """Read one page and send it, up to the channel's cursor, so that the two can meet."""
        try:
            page = await self._reader.page(self._target.keys, self.cursor, PAGE if self._first_read else FIRST_PAGE)
        except (RedisError, OSError):
            # The store is away. The hub tries on; we look again when it brings news, or at the next heartbeat.
            self._hub.changed(channel)
            await self._pause()
            return
        first, self._first_read = not self._first_read, True
        frames: list[bytes] = []
        shown, hidden = 0, False
        limit, break_ = channel.cursor, None
        for entry in page.entries:
            if limit is not None and entry.id > limit:
                break  # the channel has not come so far: its members will get this, and we with them
            if not follows(self.cursor, entry.id, entry.prev):
                break_ = gap_before(self.cursor, entry)
                break
            self.cursor = entry.id
            hidden = not self._target.filter.shows(entry.type, entry.task_id)
            if not hidden:
                frames.append(sse.event(entry))
                shown += 1
            if self._ends(entry.type, entry.task_id):
                break
        self._metrics.replayed.inc(shown)
        if frames or hidden:
            await self._flush(frames, shown, hidden)
        if break_ is not None:
            await self._say_gap(break_)
        elif not frames and not hidden and not self._ended:
            await self._meet(channel, page, first)

    async def _meet(self, channel: Channel, page: Page, first: bool) -> None:
        """Nothing to send, yet cursor and channel differ: the cursor is beyond the log, or the channel is stale."""
        tail = page.tail
        if tail.id < self.cursor:  # the tail was read after our cursor was set: it is not in the log
            reason: Reason = "gone" if not tail.exists else "unknown_cursor" if first else "rewound"
            await self._say_gap(Gap(self.cursor, tail.id, reason))
        elif tail.deleted is not None and tail.id == self.cursor:
            self._ended = True
        elif not page.entries and tail.id > self.cursor:
            await self._lost_entries(page)
        if channel.cursor != self.cursor:
            self._hub.changed(channel)
            await self._pause()

    async def _lost_entries(self, page: Page) -> None:
        """The log ends behind our cursor, but has no entry there: appended just now, or trimmed away. Look again."""
        again = await self._reader.page(self._target.keys, self.cursor, 1)
        if not again.entries and again.tail == page.tail:
            await self._say_gap(Gap(self.cursor, page.tail.id, "trimmed"))

    async def _say_gap(self, gap: Gap) -> None:
        try:
            gap = await self._reader.settle(self._target.keys, gap)
        except (RedisError, OSError):
            return  # the store went away: the next page shows the break again
        await self._flush([self._gap_frame(gap)], 0, hidden=False)
        self.cursor = gap.to

    async def _pause(self) -> None:
        """Wait for the hub, but not for ever."""
        timer = asyncio.get_running_loop().call_later(STORE_PAUSE_S, self.wake)
        try:
            await self._wait()
        finally:
            timer.cancel()

    # --- both ----------------------------------------------------------------------------------------------------

    def _ends(self, event_type: str, task_id: str) -> bool:
        """Whether the stream is over with this event."""
        ended = event_type == "session_deleted" or (
            task_id == self._target.task_id and event_type in TERMINAL_EVENTS and task_id != ""
        )
        self._ended = self._ended or ended
        return ended

    async def _flush(self, frames: list[bytes], shown: int, hidden: bool) -> None:
        if self._ended:
            if hidden:
                frames.append(sse.control("cursor", {}, self.cursor))
            frames.append(sse.control("end", {}, self.cursor))
        if frames:
            await self._send(b"".join(frames))
            self._metrics.delivered.inc(shown)
        self._shown(hidden and not self._ended)

    def _gap_frame(self, gap: Gap) -> bytes:
        self._metrics.gaps.labels(gap.reason).inc()
        return sse.gap(gap, self._target.snapshot_url)
