"""What somebody wants of a running attempt: that it ends (cancel), or lets go at its next good place (pause)."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from redis.exceptions import RedisError

from runcast_events.events import Event, TaskCancelled, TaskCancelling, TaskPausing
from runcast_tasks.control import Requests

logger = logging.getLogger(__name__)

LOOK_S = 0.5
"""A request is seen after this long at the latest, also by an attempt that writes nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked, and why. `reason` may be missing."""

    by: str
    reason: str | None

    def event(self, kind: type[TaskCancelling] | type[TaskCancelled] | type[TaskPausing]) -> Event:
        return kind(by=self.by) if self.reason is None else kind(by=self.by, reason=self.reason)


def asked_for(kind: str, requests: Mapping[str, Mapping[str, object]]) -> Asked | None:
    """The request of that kind, if one waits."""
    request = requests.get(kind)
    if request is None:
        return None
    reason = request.get("reason")
    return Asked(str(request.get("by", "")), None if reason is None else str(reason))


async def waiting_cancel(requests: Requests) -> Asked | None:
    """The cancel request that waits, if one does. Raises RedisError and OSError."""
    return asked_for("cancel", await requests.orders())


class Watch:
    """An attempt's look for what is asked of it. `told`: set when the store says that control requests wait.
    `pausing`: set when `pause` is there."""

    def __init__(self, requests: Requests, told: asyncio.Event) -> None:
        self._requests, self._told = requests, told
        self._found_none = asyncio.Event()
        self.pausing = asyncio.Event()
        self.pause: Asked | None = None

    async def cancelled(self) -> Asked:
        """Wait until somebody asks for the end: told by the answer to an append or by an alert, or found by looking."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._told.wait()
                self._told.clear()
            except TimeoutError:
                pass
            try:
                requests = await self._requests.orders()
            except (RedisError, OSError) as error:
                logger.warning("control requests cannot be read: %s", error)
                continue
            cancel = asked_for("cancel", requests)
            if cancel is not None:
                return cancel
            self._found_none.set()
            self.pause = asked_for("pause", requests)
            if self.pause is not None:
                self.pausing.set()

    async def nobody_asked(self) -> None:
        """Wait until a look, done now by whoever runs `cancelled`, finds nothing: for ever, where there is a cancel."""
        self._found_none.clear()
        self._told.set()
        await self._found_none.wait()
