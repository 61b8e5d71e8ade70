"""One Pub/Sub connection per process: subscribed channels in, publications out, and a word whenever some may be lost.

What it promises is little, on purpose: Pub/Sub may lose, double or reorder, and a connection may be dead for seconds
before anybody notices. The hub treats a publication only as a hint that is often right.

redis-py opens the connection (address, TLS, credentials, Sentinel); its transport is then handed to a protocol of ours,
since redis-py's way of reading costs several times more per message than everything else a gateway does with it.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from itertools import islice
from time import monotonic

import hiredis
from redis.exceptions import RedisError

from runcast_events.redis import bare_connection, transport_of

logger = logging.getLogger(__name__)

CONNECT_S = 5.0
PING_S = 5.0
SILENCE_S = 12.0
"""Without a byte for this long, although it was PINGed twice, the connection is taken for dead."""
CHANNELS_PER_COMMAND = 500
GATHER_S = 0.001
"""Channels that come within this time are subscribed with one command: a thousand clients a second come one by one."""
UNSENT_BYTES = 8 * 1024 * 1024
"""A store that takes nothing while so much waits for it is as good as gone."""

Take = Callable[[bytes, bytes], None]


class Messages(asyncio.Protocol):
    """What comes over a subscribed connection. `lost` is done when it ends."""

    def __init__(self, on_message: Take, on_subscribed: Callable[[bytes], None]) -> None:
        self._on_message, self._on_subscribed = on_message, on_subscribed
        self._reader = hiredis.Reader()
        self.heard_at = monotonic()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        self.heard_at = monotonic()
        next_of = self._reader.gets
        try:
            self._reader.feed(data)
            while (message := next_of()) is not False:
                if type(message) is list and message[0] == b"message":
                    self._on_message(message[1], message[2])
                else:
                    self._answer(message)
        except Exception as error:
            self._end(error)

    def _answer(self, message: object) -> None:
        """To a command. A PONG is a list where something is subscribed, and bytes where nothing is."""
        if isinstance(message, hiredis.ReplyError):
            raise message
        if isinstance(message, list) and message[0] == b"subscribe":
            self._on_subscribed(message[1])

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc or ConnectionError("the store closed the connection"))

    def _end(self, error: Exception) -> None:
        if not self.lost.done():
            self.lost.set_exception(error)


class Subscriber:
    """`on_message(channel, data)` and `on_subscribed(channel)` are called as bytes arrive: they must not block.

    After a reconnect `on_subscribed` is called again for every channel: publications may have been missed until then.
    """

    def __init__(self, url: str, name: str, on_message: Take, on_subscribed: Callable[[bytes], None]) -> None:
        self._url, self._name = url, name
        self._on_message, self._on_subscribed = on_message, on_subscribed
        self._wanted: dict[bytes, None] = {}  # ordered, so that a reconnect serves the oldest first
        self._join: dict[bytes, None] = {}
        self._leave: dict[bytes, None] = {}
        self._changed = asyncio.Event()
        self.connected = False
        self.reconnects = -1

    def subscribe(self, channel: bytes) -> None:
        self._wanted[channel] = None
        self._leave.pop(channel, None)
        self._join[channel] = None
        self._changed.set()

    def unsubscribe(self, channel: bytes) -> None:
        self._wanted.pop(channel, None)
        self._join.pop(channel, None)
        self._leave[channel] = None
        self._changed.set()

    async def run(self) -> None:
        """Connect, serve, and again, with growing jittered pauses, until cancelled."""
        pause_s = 0.05
        while True:
            connection = bare_connection(self._url, self._name)
            started_at = monotonic()
            try:
                async with asyncio.timeout(CONNECT_S):  # its socket has no timeout of its own
                    await connection.connect()  # type: ignore[no-untyped-call]
                self.connected = True
                self.reconnects += 1
                await self._serve(transport_of(connection))
            except (RedisError, hiredis.HiredisError, OSError) as error:
                logger.warning("subscriber: %s", str(error) or type(error).__name__)
            except Exception:
                logger.exception("a publication could not be taken")
            finally:
                self.connected = False
                await connection.disconnect(nowait=True)
            if monotonic() - started_at > SILENCE_S:
                pause_s = 0.05
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, 1.0)

    async def _serve(self, transport: asyncio.Transport) -> None:
        self._join, self._leave = dict(self._wanted), {}
        self._changed.set()
        messages = Messages(self._on_message, self._on_subscribed)
        transport.set_protocol(messages)
        loops = [asyncio.create_task(self._write(transport)), asyncio.create_task(self._ping(transport, messages))]
        try:
            # Not a TaskGroup: it would wrap the one error that tells why in a group.
            ended, _ = await asyncio.wait([*loops, messages.lost], return_when=asyncio.FIRST_COMPLETED)
            for each in ended:
                each.result()
        finally:
            transport.abort()
            messages.lost.cancel()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _write(self, transport: asyncio.Transport) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for command, channels in ((b"UNSUBSCRIBE", self._leave), (b"SUBSCRIBE", self._join)):
                while channels:
                    some = list(islice(channels, CHANNELS_PER_COMMAND))
                    for channel in some:
                        del channels[channel]
                    transport.write(hiredis.pack_command((command, *some)))  # type: ignore[arg-type]
            await asyncio.sleep(GATHER_S)

    async def _ping(self, transport: asyncio.Transport, messages: Messages) -> None:
        while True:
            await asyncio.sleep(PING_S)
            if monotonic() - messages.heard_at > SILENCE_S:
                raise TimeoutError(f"nothing heard for {SILENCE_S} s")
            if transport.get_write_buffer_size() > UNSENT_BYTES:
                raise TimeoutError("the store takes nothing")
            transport.write(hiredis.pack_command((b"PING",)))
