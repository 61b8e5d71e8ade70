"""One client's stream. It owns a cursor, not a queue: what it has not taken yet stays in the log.

Replaying it reads pages at its own pace; it goes live only when its cursor is the channel's, in the same turn of the
event loop. Live it takes shared frames; when it falls behind them it replays again. `run` shows all it can do.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from time import monotonic, time

from redis.exceptions import RedisError

from runcast_events.channel import Channel, Item
from runcast_events.hub import Hub
from runcast_events.ids import EventId
from runcast_events.reader import LogReader
from runcast_gateway import sse
from runcast_gateway.batch import Batch, Target
from runcast_gateway.metrics import Metrics
from runcast_gateway.replay import Replay
from runcast_tasks.record import Records

PORTION_BYTES = 64 * 1024
"""Taken within the send timeout, or the client is dropped: small, so that who is slow but reads is not."""
Write = Callable[[bytes], Awaitable[None]]
CURSOR_EVERY_S = 5.0
"""How long filters may hide events before the client is told where it stands."""
MEET_S = 0.5


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
        records: Records,
        metrics: Metrics,
        heartbeat_s: float,
    ) -> None:
        self._target, self.cursor, self._greeting = target, cursor, greeting
        self._hub, self._metrics = hub, metrics
        self._replay = Replay(target, reader, records)
        self._heartbeat_s = heartbeat_s * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        self.position = 0
        self.live = False
        self.sending_since: float | None = None
        self._wrote_at = self._shown_at = monotonic()
        self._hidden = False
        self._ended = False
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
                        await self._deliver(channel, items)
                    else:
                        await self._wait()
                elif channel.cursor is None:
                    await self._wait()
                elif channel.cursor == self.cursor and self._replay.started:
                    channel.join(self)
                    self.live = True
                else:
                    await self._read_on(channel)
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

    async def _deliver(self, channel: Channel, items: list[Item]) -> None:
        batch = Batch(self._target, self.cursor)
        for item in items:
            if item.breaks:  # the replay meets it in the log, and can read what it means for us
                channel.leave(self)
                self.live = False
                break
            if batch.passes(item.id, item.type, item.task_id):
                batch.show(item.frame)
            if batch.ended:
                break
        if at_ms := items[-1].at_ms:
            self._metrics.delivery_seconds.observe(max(0.0, time() - at_ms / 1000))
        await self._flush(batch)

    # --- replay --------------------------------------------------------------------------------------------------

    async def _read_on(self, channel: Channel) -> None:
        """Read and send what comes next in the log, up to the channel's cursor, so that the two can meet."""
        try:
            step = await self._replay.read(self.cursor, channel.cursor)
        except (RedisError, OSError):
            # The store is away. The hub tries on; we look again when it brings news, or after a moment.
            await self._meet(channel)
            return
        if step.beyond:
            self._hub.changed(channel)
        if step.gap is not None:
            self._metrics.gaps.labels(step.gap.reason).inc()
        moved = step.batch.cursor != self.cursor or step.batch.ended
        self._metrics.replayed.inc(step.batch.events)
        await self._flush(step.batch)
        if not moved and channel.cursor != self.cursor:
            await self._meet(channel)

    async def _meet(self, channel: Channel) -> None:
        """The channel is not where the log ends for us: have it looked after, and wait for it, but not for ever."""
        self._hub.changed(channel)
        timer = asyncio.get_running_loop().call_later(MEET_S, self.wake)
        try:
            await self._wait()
        finally:
            timer.cancel()

    async def _flush(self, batch: Batch) -> None:
        if batch.ended:
            batch.end()
        self.cursor, self._ended = batch.cursor, batch.ended
        if batch.frames:
            for portion in _portions(batch.frames):
                await self._send(portion)
            self._metrics.delivered.inc(batch.events)
            self._shown(batch.hidden)
        elif batch.hidden:
            self._shown(hidden=True)


def _portions(frames: list[bytes]) -> Iterator[bytes]:
    """The frames joined to portions of about PORTION_BYTES; a larger frame comes alone."""
    portion: list[bytes] = []
    size = 0
    for frame in frames:
        if portion and size + len(frame) > PORTION_BYTES:
            yield b"".join(portion)
            portion, size = [], 0
        portion.append(frame)
        size += len(frame)
    yield b"".join(portion)
