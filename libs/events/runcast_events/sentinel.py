"""The master of a service that Sentinels watch, and connections that are always to it.

redis-py's own pool for Sentinels does not wait for a free connection, asks one Sentinel after the other, believes the
first, and stays with a demoted master until a command fails there. Here all Sentinels are asked at once, the newest
configuration counts, a node must call itself a master before it is used; and while anybody is connected they are asked
every second, so that no connection stays with a node that is not the master any more, not even one that hangs.
Why: docs/decisions/0016-a-master-is-who-the-sentinels-say.md.
"""

import asyncio
import logging
from collections.abc import Sequence
from time import monotonic
from typing import Any, NamedTuple
from weakref import WeakSet

from redis.asyncio import Connection
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    ConnectionError,  # noqa: A004 - redis-py shadows the builtin
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from runcast_events.store_url import StoreUrl

logger = logging.getLogger(__name__)

ANSWER_S = 0.3
"""A Sentinel that takes longer, from connecting on, has no say this time."""
RECHECK_S = 1.0

Address = tuple[str, int]


class _Answer(NamedTuple):
    """Compared in this order: a failover raises the epoch; of the same one, who sees the master up is right."""

    epoch: int
    up: bool
    address: Address


class Master:
    """Where the master is. One for each pool or bare connection."""

    def __init__(self, url: StoreUrl) -> None:
        self._url = url
        self._known: Address | None = None
        self._epoch = -1
        self._asking = asyncio.Lock()
        self._failed, self._failed_until = "", 0.0
        self._connections: WeakSet[ToMaster] = WeakSet()
        self._watching: asyncio.Task[None] | None = None

    async def address(self) -> Address:
        """What the Sentinels said last, at most RECHECK_S ago while anybody is connected. Raises ConnectionError."""
        async with self._asking:
            if self._known is None:
                if monotonic() < self._failed_until:  # whoever waited meanwhile is told the same
                    raise ConnectionError(self._failed)
                links = self._links()
                try:
                    self._known = await self._ask(links)
                except ConnectionError as error:
                    self._failed, self._failed_until = str(error), monotonic() + ANSWER_S
                    raise
                finally:
                    await _close(links)
            return self._known

    def doubt(self) -> None:
        """It does not answer, or is a replica: ask before the next connection."""
        self._known = None

    def joined(self, connection: "ToMaster") -> None:
        """It is connected. The first one starts the watch."""
        self._connections.add(connection)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch(), name=f"sentinels of {self._url.service}")

    def left(self, connection: "ToMaster") -> None:
        """It is closed. The last one ends the watch, and what is not watched is not believed: a master that is started
        again after its demotion calls itself one until the Sentinels see it."""
        self._connections.discard(connection)
        if not self._connections and self._watching is not None:
            self._watching.cancel()
            self._watching = self._known = None

    async def _watch(self) -> None:
        links = self._links()
        try:
            while True:
                await asyncio.sleep(RECHECK_S)
                try:
                    found = await self._ask(links)
                except ConnectionError as error:
                    logger.warning("%s", error)
                    self.doubt()
                    continue
                self._known = found
                left = [each for each in self._connections if (each.host, each.port) != found]
                if left:
                    logger.warning("the master of %s is now %s:%d", self._url.service, *found)
                for connection in left:
                    self._connections.discard(connection)
                    connection.abort()
        finally:
            await _close(links)

    def _links(self) -> list[Connection]:
        # No names and no library versions: one round trip for each question on a new connection.
        options = {"connection_class": Connection, **self._url.sentinel_options, "lib_name": None, "lib_version": None}
        kind = options.pop("connection_class")
        return [kind(host=host, port=port, protocol=2, **options) for host, port in self._url.sentinels]

    async def _ask(self, links: Sequence[Connection]) -> Address:
        answers = await asyncio.gather(*(self._answer(link) for link in links))
        known = [answer for answer in answers if isinstance(answer, _Answer)]
        best = max(known, default=None)
        if best is not None and best.epoch < self._epoch and len(known) < len(links):
            # Who does not answer may know better. Only Sentinels that were all set up anew begin at 0 again.
            raise ConnectionError(f"some Sentinels of {self._url.service} do not answer, the others are behind")
        if best is not None:
            self._epoch = best.epoch
        if best is not None and best.up:
            return best.address
        what = f"its master {best.address[0]}:{best.address[1]} is down" if best else "; ".join(map(str, answers))
        raise ConnectionError(f"the Sentinels of {self._url.service} know no master: {what}")

    async def _answer(self, link: Connection) -> _Answer | str:
        """What a Sentinel says, or why it says nothing."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await link.connect()  # type: ignore[no-untyped-call]
                await link.send_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._url.service)
                await link.send_command("SENTINEL", "MASTER", self._url.service)
                address, reply = await link.read_response(), await link.read_response()
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            await link.disconnect(nowait=True)
            return f"{link.host}:{link.port}: {str(error) or 'no answer in time'}"
        try:
            return _read(address, reply)
        except (LookupError, TypeError, ValueError, AttributeError):  # the watch must not end by it
            return f"{link.host}:{link.port}: its answer is none of a Sentinel"


def _read(address: Any, reply: Any) -> _Answer:
    found = {name.decode(): value.decode() for name, value in zip(reply[::2], reply[1::2], strict=True)}
    host, port = address[0].decode(), int(address[1])
    # Who leads a failover knows the epoch and the new address first, but shows the old one's flags until its end.
    is_new = (host, port) != (found["ip"], int(found["port"]))
    up = is_new or not {"s_down", "o_down"} & set(found["flags"].split(","))
    return _Answer(int(found["config-epoch"]), up, (host, port))


async def _close(links: Sequence[Connection]) -> None:
    for link in links:
        await link.disconnect(nowait=True)


class ToMaster(AbstractConnection):
    """Mixed into a TCP or TLS connection class: wherever it connects to is the master."""

    host: str
    port: int

    def __init__(self, *, master: Master, **options: Any) -> None:
        self._master = master
        super().__init__(**options)

    async def _connect(self) -> None:
        self.host, self.port = await self._master.address()
        try:
            await super()._connect()  # type: ignore[no-untyped-call,safe-super]
        except BaseException:
            self._master.doubt()
            raise
        self._master.joined(self)  # from here the watch breaks it off, also while its first command hangs

    async def on_connect(self) -> None:
        await super().on_connect()
        await self.send_command("ROLE", check_health=False)
        role = await self.read_response()
        if role[0] != b"master":
            self._master.doubt()
            raise ConnectionError(f"{self.host}:{self.port} is a {role[0].decode()}")

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except ResponseError as error:
            # Of a script's error Redis 6.2 makes one without a code of its own.
            if isinstance(error, ReadOnlyError) or "READONLY" in str(error):
                await self.disconnect(nowait=True)
                raise ConnectionError(f"{self.host}:{self.port} has become a replica") from error
            raise

    def abort(self) -> None:
        """Whoever waits for a reply gets a ConnectionError now, and asks the master."""
        if self._writer is not None:
            self._writer.transport.abort()

    async def disconnect(self, nowait: bool = False) -> None:
        self._master.left(self)
        await super().disconnect(nowait)
