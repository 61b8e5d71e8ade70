"""One Pub/Sub connection per process: subscribed channels in, publications out, and a word whenever some may be lost.

What it promises is little, on purpose: Pub/Sub may lose, double or reorder, and a connection may be dead for seconds
before anybody notices. The hub treats a publication only as a hint that is often right.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from itertools import islice
from time import monotonic

from redis.asyncio import Connection
from redis.exceptions import RedisError

from runcast_events.redis import subscriber_connection

logger = logging.getLogger(__name__)

CONNECT_S = 5.0
PING_S = 5.0
SILENCE_S = 12.0
"""Without a byte for this long, although it was PINGed twice, the connection is taken for dead."""
CHANNELS_PER_COMMAND = 500


class Subscriber:
    """`on_message(channel, data)` and `on_subscribed(channel)` are called from the reading loop: they must not block.

    After a reconnect `on_subscribed` is called again for every channel: publications may have been missed until then.
    """

    def __init__(
        self,
        url: str,
        name: str,
        on_message: Callable[[str, bytes], None],
        on_subscribed: Callable[[str], None],
    ) -> None:
        self._url, self._name = url, name
        self._on_message, self._on_subscribed = on_message, on_subscribed
        self._wanted: dict[str, None] = {}  # ordered, so that a reconnect serves the oldest first
        self._join: dict[str, None] = {}
        self._leave: dict[str, None] = {}
        self._changed = asyncio.Event()
        self._heard_at = 0.0
        self.connected = False
        self.reconnects = -1

    def subscribe(self, channel: str) -> None:
        self._wanted[channel] = None
        self._leave.pop(channel, None)
        self._join[channel] = None
        self._changed.set()

    def unsubscribe(self, channel: str) -> None:
        self._wanted.pop(channel, None)
        self._join.pop(channel, None)
        self._leave[channel] = None
        self._changed.set()

    async def run(self) -> None:
        """Connect, serve, and again, with growing jittered pauses, until cancelled."""
        pause_s = 0.05
        while True:
            connection = subscriber_connection(self._url, self._name)
            started_at = monotonic()
            try:
                async with asyncio.timeout(CONNECT_S):  # its socket has no timeout of its own
                    await connection.connect()  # type: ignore[no-untyped-call]
                self.connected = True
                self.reconnects += 1
                await self._serve(connection)
            except (RedisError, OSError) as error:
                logger.warning("subscriber: %s", str(error) or type(error).__name__)
            finally:
                self.connected = False
                await connection.disconnect(nowait=True)
            if monotonic() - started_at > SILENCE_S:
                pause_s = 0.05
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
            pause_s = min(pause_s * 2, 1.0)

    async def _serve(self, connection: Connection) -> None:
        self._join, self._leave = dict(self._wanted), {}
        self._changed.set()
        self._heard_at = monotonic()
        loops = [asyncio.create_task(loop(connection)) for loop in (self._read, self._write, self._ping)]
        try:
            # Not a TaskGroup: it would wrap the one error that tells why in a group.
            ended, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for loop in ended:
                loop.result()
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    async def _read(self, connection: Connection) -> None:
        while True:
            message = await connection.read_response(disable_decoding=True)
            self._heard_at = monotonic()
            if not isinstance(message, list):
                continue  # the PONG of a connection without a subscription
            kind = message[0]
            if kind == b"message":
                self._on_message(message[1].decode(), message[2])
            elif kind == b"subscribe":
                self._on_subscribed(message[1].decode())

    async def _write(self, connection: Connection) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            for command, channels in (("UNSUBSCRIBE", self._leave), ("SUBSCRIBE", self._join)):
                while channels:
                    some = list(islice(channels, CHANNELS_PER_COMMAND))
                    for channel in some:
                        del channels[channel]
                    await connection.send_command(command, *some, check_health=False)

    async def _ping(self, connection: Connection) -> None:
        while True:
            await asyncio.sleep(PING_S)
            if monotonic() - self._heard_at > SILENCE_S:
                raise TimeoutError(f"nothing heard for {SILENCE_S} s")
            async with asyncio.timeout(PING_S):  # a dead peer with a full socket takes nothing
                await connection.send_command("PING", check_health=False)
