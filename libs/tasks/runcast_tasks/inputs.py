"""What is said to a task while it is live, on its way to the model."""

import json
from dataclasses import dataclass

from redis.asyncio import Redis

from runcast_events.log import Hold
from runcast_events.script import Script


@dataclass(frozen=True, slots=True)
class Input:
    """Something that was said to a task. `name`: of the request, by which it is taken back when it was heard."""

    name: str
    by: str
    text: str


class Inputs:
    """An attempt's ear."""

    def __init__(self, redis: Redis, hold: Hold) -> None:
        self._hold = hold
        self._read: set[str] = set()
        """Names of what was read and still waits: the event that tells of it may take longer than the model."""
        self._hear = Script.packaged(redis, "runcast_tasks", "hear.lua")

    async def read(self, *, last: bool = False) -> list[Input]:
        """What was said since the last time, in its order. `last`: where that is nothing, the task is done; what is
        said to it from then on is refused, so that it is not lost. Raises RedisError, OSError."""
        hold = self._hold
        raw: list[bytes] = await self._hear(
            keys=[hold.keys.task(hold.task_id), hold.keys.control(hold.task_id)],
            args=[hold.fence, int(last), *self._read],
        )
        requests = {name.decode(): json.loads(request) for name, request in zip(raw[::2], raw[1::2], strict=True)}
        new = sorted(requests.keys() - self._read)
        self._read = set(requests)
        return [Input(name, str(requests[name]["by"]), str(requests[name]["reason"])) for name in new]
