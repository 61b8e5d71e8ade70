"""A cancel request, as it waits for the attempt that it is about, or for whoever ends the task in its place."""

from dataclasses import dataclass

from runcast_events.events import Event, TaskCancelled, TaskCancelling
from runcast_tasks.control import Requests


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
