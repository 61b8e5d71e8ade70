"""All streams of this process: admitted, counted, grouped, ticked, timed out, drained."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Coroutine
from time import monotonic
from typing import Any

from runcast_events.channel import Channel
from runcast_events.hub import Hub
from runcast_events.ids import EventId
from runcast_events.reader import LogReader
from runcast_gateway.metrics import Metrics
from runcast_gateway.settings import GatewaySettings
from runcast_gateway.streams.connection import Connection
from runcast_gateway.streams.group import Group
from runcast_gateway.streams.replay import UNRECORDED
from runcast_gateway.streams.target import Target
from runcast_gateway.transports.framing import Framing
from runcast_gateway.transports.half_closed import reset
from runcast_service.backlog import Backlog
from runcast_service.request_id import current_request_id
from runcast_tasks.record import Records

logger = logging.getLogger(__name__)

ANSWER_S = 1.0
"""Time for the machine of a client that has left to say so. Later it shows at the next heartbeats."""
LOOK_EVERY_S = 5.0
"""At a socket that is not full, whether something waits in it."""
TICK_S = 1.0
SLICES = 10
"""Parts of a tick: ten thousand heartbeats at once would hold up everything else for a twentieth of a second."""


class Connections:
    """The registry. `run` is its one loop. `draining` is set at SIGTERM and never cleared. `tracer`: of replays."""

    def __init__(
        self, settings: GatewaySettings, *, hub: Hub, reader: LogReader, records: Records, metrics: Metrics
    ) -> None:
        self._settings = settings
        self.hub, self.reader, self.records, self.metrics = hub, reader, records, metrics
        # Jittered, so that groups that began together do not speak together. A few, which ten thousand share.
        self._heartbeats_s = [settings.heartbeat_s * (0.9 + 0.2 * step / 32) for step in range(33)]
        self._open: set[Connection] = set()
        self._groups: set[Group] = set()
        self._backlogs: dict[Connection, Backlog] = {}
        self._silent: dict[Connection, tuple[int, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._places: Counter[str] = Counter()
        self._taken = 0
        self.draining = False
        self.tracer = UNRECORDED

    def take_place(self, principal: str) -> str | None:
        """A place for one more stream of this caller: taken before anything is waited for, and left once. Returns why
        there is none, if so: `process_full`, `principal_full`."""
        most = self._settings.max_streams_per_principal
        if self._taken >= self._settings.max_streams:
            return "process_full"
        if most and self._places[principal] >= most:
            return "principal_full"
        self._places[principal] += 1
        self._taken += 1
        return None

    def leave_place(self, principal: str) -> None:
        self._taken -= 1
        self._places[principal] -= 1
        if not self._places[principal]:
            del self._places[principal]

    def enter(self, channel: Channel, target: Target, framing: Framing, cursor: EventId, principal: str) -> Connection:
        """A new connection, which keeps the channel and its caller's place until it is closed."""
        group = self._group(channel, target, framing)
        connection = Connection(self, group, cursor, principal)
        age_s, now = self._settings.max_age_s, monotonic()
        connection.expires_at = now + age_s * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        connection.opened_at = now
        if request_id := current_request_id():  # else it is nobody's: the audit's
            connection.request_id = request_id
            if logger.isEnabledFor(logging.DEBUG):  # a line costs a fifth of a connect
                logger.debug("stream opened", extra={**_about(connection), "cursor": str(cursor)})
        self._open.add(connection)
        if self.draining:  # it was on its way in when the others were told
            self._drain_soon(connection)
        return connection

    def closed(self, connection: Connection) -> None:
        """It is over."""
        self.metrics.closed[connection.reason].inc()
        if connection.request_id:
            took_s = round(monotonic() - connection.opened_at, 3)
            about = {**_about(connection), "reason": connection.reason, "duration_s": took_s}
            logger.info("stream closed", extra=about)
        self._open.discard(connection)
        self._backlogs.pop(connection, None)
        self._silent.pop(connection, None)
        self.leave_place(connection.principal)
        group = connection.group
        group.users -= 1
        if not group.users:
            group.channel.followers.pop((group.target, group.framing))
            self._groups.discard(group)
        self.hub.unwatch(group.channel)

    def watch(self, connection: Connection, transport: asyncio.WriteTransport) -> None:
        """Something waits to be taken by the client: end the connection should it take nothing."""
        if connection not in self._backlogs:
            self._backlogs[connection] = Backlog(transport, monotonic())

    def unwatch(self, connection: Connection) -> None:
        self._backlogs.pop(connection, None)

    def half_closed(self, connection: Connection, transport: asyncio.WriteTransport) -> None:
        """The client will send no more, and was just written to: end the connection should nobody be there."""
        if endpoint := transport.get_extra_info("socket"):
            self._silent[connection] = endpoint.fileno(), monotonic()

    def spawn(self, catching_up: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(catching_up, name="catch up")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def run(self) -> None:
        """Heartbeats, ages and send timeouts of all connections, from one timer."""
        while True:
            groups, connections = list(self._groups), list(self._open)
            for index in range(SLICES):
                await asyncio.sleep(TICK_S / SLICES)
                now = monotonic()
                again_at = now + LOOK_EVERY_S  # one number, which all that are looked at share
                try:
                    for group in groups[index::SLICES]:
                        group.tick(now)
                    for connection in connections[index::SLICES]:
                        if connection.expires_at <= now:
                            connection.drain("age")
                        elif connection.look_at <= now:
                            connection.look(again_at)
                    self._end_gone(now)
                except Exception:
                    logger.exception("some streams were not looked after this time")
            self._end_stuck(monotonic())

    def _end_gone(self, now: float) -> None:
        """Of clients that send no more: those that are gone. One that has not been said to be gone in time listens."""
        if self._silent:
            gone = reset(file for file, _ in self._silent.values())
            for connection, (file, since) in list(self._silent.items()):
                if file in gone:
                    connection.abort("gone")
                elif now - since > ANSWER_S:
                    del self._silent[connection]

    def _end_stuck(self, now: float) -> None:
        for connection, backlog in list(self._backlogs.items()):
            if backlog.stands_still(now, self._settings.send_timeout_s):
                connection.abort("send_timeout")
            elif not (backlog.waiting or connection.paused or connection.reason):
                del self._backlogs[connection]  # it was only looked after

    def drain(self) -> None:
        """End all streams, spread over the drain time so that their clients do not come back all at once."""
        self.draining = True
        for connection in self._open:
            self._drain_soon(connection)

    def _drain_soon(self, connection: Connection) -> None:
        after_s = random.uniform(0, self._settings.drain_s)  # noqa: S311 - spread
        asyncio.get_running_loop().call_later(after_s, connection.drain, "shutdown")

    async def end(self) -> None:
        """Whatever is still open ends now."""
        for connection in list(self._open):
            connection.abort("shutdown")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def live(self) -> int:
        return sum(len(group.members) for group in self._groups)

    def lag_s(self) -> float:
        """How long the stream that is behind its log for longest has been so; 0: none is."""
        now = monotonic()
        return now - min((each.behind_since for each in self._open if each.behind_since), default=now)

    def transports(self) -> dict[str, int]:
        """How many streams write to their sockets themselves, and how many through the server."""
        handed_over = sum(connection.handed_over for connection in self._open)
        return {"handover": handed_over, "asgi": len(self._open) - handed_over}

    def _group(self, channel: Channel, target: Target, framing: Framing) -> Group:
        group = channel.followers.get((target, framing))
        if group is None:
            heartbeat_s = random.choice(self._heartbeats_s)  # noqa: S311 - jitter
            group = Group(channel, target, framing, self.metrics.live[target.dialect.NAME], heartbeat_s)
            channel.followers[(target, framing)] = group
            self._groups.add(group)
        assert isinstance(group, Group)
        group.users += 1
        return group


def _about(connection: Connection) -> dict[str, str]:
    """What the first and the last line of a stream are found by."""
    target = connection.group.target
    about = {"request_id": connection.request_id, "session_id": target.session_id}
    return about if target.task_id is None else {**about, "task_id": target.task_id}
