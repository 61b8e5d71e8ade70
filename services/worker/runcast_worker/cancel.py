"""A cancel request, as it waits for the attempt that it is about, or for whoever ends the task in its place."""

import asyncio
import logging
from dataclasses import dataclass

from redis.exceptions import RedisError

from runcast_events.events import Event, TaskCancelled, TaskCancelling
from runcast_tasks.control import Requests

logger = logging.getLogger(__name__)

LOOK_S = 0.5
"""A request is seen after this long at the latest, also by an attempt that writes nothing."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Somebody asked for the end. `reason` may be missing."""

    by: str
    reason: str | None

    def event(self, kind: type[TaskCancelling] | type[TaskCancelled]) -> Event:
        return kind(by=self.by) if self.reason is None else kind(by=self.by, reason=self.reason)


async def waiting_cancel(requests: Requests) -> Cancel | None:
    """The cancel request that waits, if one does. Raises RedisError and OSError."""
    asked = (await requests.read()).get("cancel")
    if asked is None:
        return None
    reason = asked.get("reason")
    return Cancel(str(asked.get("by", "")), None if reason is None else str(reason))


class CancelWatch:
    """An attempt's look for its cancel. `told`: set when the store says that control requests wait."""

    def __init__(self, requests: Requests, told: asyncio.Event, task_id: str) -> None:
        self._requests, self._told, self._task_id = requests, told, task_id
        self._found_none = asyncio.Event()

    async def asked(self) -> Cancel:
        """Wait until somebody asks: told by the answer to an append, or found by looking."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._told.wait()
                self._told.clear()
            except TimeoutError:
                pass
            try:
                cancel = await waiting_cancel(self._requests)
            except (RedisError, OSError) as error:
                logger.warning("control requests cannot be read: %s", error, extra={"task_id": self._task_id})
                continue
            if cancel is not None:
                return cancel
            self._found_none.set()

    async def nobody_asked(self) -> None:
        """Wait until a look, done now by whoever runs `asked`, finds nothing: for ever, where there is a cancel."""
        self._found_none.clear()
        self._told.set()
        await self._found_none.wait()
