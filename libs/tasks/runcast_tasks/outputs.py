"""What tool calls came to, whole: kept beside the log where it is too long for an event, as long as the session is."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.typing import EncodableT

from runcast_events.keys import SessionKeys
from runcast_events.log import Hold
from runcast_events.script import Script
from runcast_tasks.errors import NotFound, OutputRefused

READ_BYTES = 256 * 1024


def output_path(task_id: str, call_id: str) -> str:
    """Where the api shows an output."""
    return f"/api/tasks/{task_id}/tool-calls/{call_id}/output"


class Outputs:
    """Keeps the outputs of one attempt's calls. `max_bytes`: of all outputs of the session.

    All methods raise OutputRefused, and what a store raises; what was written so far is then of no use: `drop` it.
    A later attempt's call takes the place of an earlier one's with the same id."""

    def __init__(self, redis: Redis, hold: Hold, max_bytes: int) -> None:
        self._hold, self._max_bytes = hold, max_bytes
        self._script = Script.packaged(redis, "runcast_tasks", "outputs.lua")

    async def write(self, call_id: str, offset: int, piece: bytes) -> None:
        """The next piece; `offset`: bytes before it. Repeating it changes nothing."""
        await self._run("piece", call_id, offset, piece)

    async def whole(self, call_id: str, size: int) -> None:
        """It has come to its end; from now on it can be read."""
        await self._run("whole", call_id, size)

    async def drop(self, call_id: str) -> None:
        """Give up what this attempt wrote of it: the room is free again."""
        await self._run("drop", call_id, 0)

    def path(self, call_id: str) -> str:
        return output_path(self._hold.task_id, call_id)

    async def _run(self, action: str, call_id: str, number: int, piece: bytes = b"") -> None:
        keys, task_id = self._hold.keys, self._hold.task_id
        names = [keys.meta, keys.task(task_id), keys.outputs, keys.output(task_id, call_id)]
        args: list[EncodableT] = [action, self._hold.fence, _name(task_id, call_id), number, piece, self._max_bytes]
        answer: bytes = await self._script(keys=names, args=args)
        if answer != b"OK":
            raise OutputRefused(answer.decode())


@dataclass(frozen=True, slots=True)
class KeptOutput:
    """One that is whole. `size`: bytes of UTF-8."""

    key: str
    size: int


async def find_output(redis: Redis, keys: SessionKeys, task_id: str, call_id: str) -> KeptOutput:
    """Raises NotFound: there is none, it is not whole (yet), or it went with its session."""
    written: bytes | None = await redis.hget(keys.outputs, _name(task_id, call_id))  # type: ignore[misc]
    _, _, size = (written or b"").partition(b" ")
    if not size:
        raise NotFound("output", f"{task_id} {call_id[:64]}")
    return KeptOutput(keys.output(task_id, call_id), int(size))


async def read_output(redis: Redis, kept: KeptOutput) -> AsyncIterator[bytes]:
    """In pieces. Raises NotFound where it goes away meanwhile: what was read is then not the whole."""
    for start in range(0, kept.size, READ_BYTES):
        end = min(start + READ_BYTES, kept.size)
        piece: bytes = await redis.getrange(kept.key, start, end - 1)
        if len(piece) != end - start:
            raise NotFound("output", kept.key)
        yield piece


def _name(task_id: str, call_id: str) -> str:
    return f"{task_id}:{call_id}"
