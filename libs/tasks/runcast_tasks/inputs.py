"""What is said to a task while it is live, on its way to the model."""

import json
from dataclasses import dataclass
from importlib.resources import files

from redis.asyncio import Redis

from runcast_events.log import Hold


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
        self._hear = redis.register_script(files("runcast_tasks").joinpath("hear.lua").read_text())

    async def read(self, *, last: bool = False) -> list[Input]:
        """What was said and not heard yet, in its order. `last`: where there is nothing, the task is done; what is said
        to it from then on is refused, so that it is not lost. Raises RedisError, OSError."""
        hold = self._hold
        raw: list[bytes] = await self._hear(
            keys=[hold.keys.task(hold.task_id), hold.keys.control(hold.task_id)], args=[hold.fence, int(last)]
        )
        requests = {name.decode(): json.loads(request) for name, request in zip(raw[::2], raw[1::2], strict=True)}
        return [Input(name, str(requests[name]["by"]), str(requests[name]["reason"])) for name in sorted(requests)]
