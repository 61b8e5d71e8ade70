"""The audit: this process is a client of its own, and compares what it was shown with what the log has.

Some worker appends a canary now and then (runcast_worker/canary.py). The auditor follows that log through everything
that a client's events go through but the socket, and comes back like a client when its stream ends. Now and then it
reads the log itself: an event that the stream has passed without showing it is lost, one that it showed again is
repeated. A break that the stream told of by a `gap` is neither.
"""

import asyncio
import logging
from collections.abc import Callable
from time import monotonic, time

from redis.exceptions import RedisError

from runcast_events.ids import AUDIT_TENANT, CANARY, EventId
from runcast_events.keys import Keyspace, SessionKeys
from runcast_gateway.metrics import AuditMetrics
from runcast_gateway.streams.connection import Connection
from runcast_gateway.streams.connections import Connections
from runcast_gateway.streams.filter import EVERYTHING
from runcast_gateway.streams.target import Target
from runcast_gateway.transports.framing import PLAIN

logger = logging.getLogger(__name__)

COMPARE_EVERY_S = 10.0
AGAIN_S = 1.0
STORE_S = 6.0
PAGE = 1000
MOST_SHOWN = 10_000
"""Events that wait to be compared: an outage of the store, in which nothing can be, is bounded by it."""


class Auditor:
    """`run` is its one loop. `connections`: a registry of its own, so that it counts as nobody's stream."""

    def __init__(self, connections: Connections, keyspace: Keyspace, metrics: AuditMetrics) -> None:
        self._connections, self._metrics = connections, metrics
        self._keys: SessionKeys = keyspace.session(AUDIT_TENANT, CANARY)
        self.following = False
        """Whether it keeps a channel of the hub, which then is no client's."""
        self._cursor: EventId | None = None
        """The last event that was shown."""
        self._compared: EventId | None = None
        self._shown: dict[EventId, float] = {}
        """Since the last comparison, with the time."""

    async def run(self) -> None:
        """Follow and compare, until cancelled."""
        while True:
            try:
                await self._follow()
            except (RedisError, OSError) as error:
                logger.debug("the audit waits for the store: %s", error)
            except Exception:
                logger.exception("the audit begins anew")  # it must not end: nobody would see that its counters rest
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        """One stream, to its end."""
        hub = self._connections.hub
        channel, self.following = hub.watch(self._keys), True
        try:
            async with asyncio.timeout(STORE_S):
                await channel.started()
            cursor = channel.cursor if self._cursor is None else self._cursor
            self._cursor, self._compared = cursor, self._compared or cursor
            self._connections.take_place(CANARY)
            connection = self._connections.enter(channel, Target(self._keys, CANARY, EVERYTHING), PLAIN, cursor, CANARY)
        except BaseException:
            hub.unwatch(channel)
            self.following = False
            raise
        sink = Sink(connection, self.see)
        try:
            connection.open(sink, b"")
            while not sink.closed.is_set():
                try:
                    async with asyncio.timeout(COMPARE_EVERY_S):
                        await sink.closed.wait()
                except TimeoutError:
                    await self.compare()
        finally:
            sink.abort()
            self.following = False

    def see(self, frames: bytes) -> None:
        """What a client is sent: whole frames."""
        for frame in frames.split(b"\n\n"):
            fields = dict(line.split(b": ", 1) for line in frame.split(b"\n") if b": " in line)
            name = fields.get(b"event")
            if name == b"gap":
                self._cursor = self._compared = EventId.decode(fields[b"id"])
                self._shown.clear()
            elif name == CANARY.encode():
                self._see_canary(EventId.decode(fields[b"id"]))

    def _see_canary(self, event_id: EventId) -> None:
        if self._cursor is not None and event_id <= self._cursor:
            self._metrics.repeated.inc()
            logger.error("an event was shown again", extra={"event_id": str(event_id)})
            return
        self._cursor, self._shown[event_id] = event_id, time()
        self._metrics.seen.inc()
        self._metrics.seen_at = monotonic()
        if len(self._shown) > MOST_SHOWN:
            self._compared = self._cursor
            self._shown.clear()

    async def compare(self) -> None:
        """With the log, up to what was shown last. Raises RedisError, OSError, UndecodableEntry."""
        while self._compared is not None and self._cursor is not None and self._compared < self._cursor:
            since, upto = self._compared, self._cursor
            page = await self._connections.reader.page(self._keys, since, PAGE)
            if self._compared != since:
                return  # a gap was told meanwhile
            beyond = len(page.entries) < PAGE
            for entry in page.entries:
                if entry.id > upto:
                    beyond = True
                    break
                if (at := self._shown.pop(entry.id, None)) is not None:
                    self._metrics.seconds.observe(max(0.0, at - entry.at_ms / 1000))
                elif entry.type == CANARY:
                    self._metrics.lost.inc()
                    logger.error("an event was not shown", extra={"event_id": str(entry.id)})
                self._compared = entry.id
            if beyond:
                self._compared = upto
            for event_id in [each for each in self._shown if each <= self._compared]:
                del self._shown[event_id]  # the log does not have it any more


class Sink(asyncio.Transport):
    """A socket that takes everything at once."""

    def __init__(self, connection: Connection, see: Callable[[bytes], None]) -> None:
        super().__init__()
        self._connection, self._see = connection, see
        self.closed = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._see(bytes(data))

    def close(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            asyncio.get_running_loop().call_soon(self._connection.connection_lost, None)  # as sockets do: later

    def abort(self) -> None:
        self.close()

    def is_closing(self) -> bool:
        return self.closed.is_set()

    def get_write_buffer_size(self) -> int:
        return 0
