"""The way of a long text into the store, while it comes. That it cannot be kept never fails a call."""

import asyncio
import logging

from redis.exceptions import RedisError

from runcast_tasks.errors import OutputRefused
from runcast_tasks.outputs import Outputs

logger = logging.getLogger(__name__)

WHOLE_BYTES = 10 * 1024 * 1024
"""A longer text is not kept whole."""
PIECE_BYTES = 256 * 1024
STORE_S = 5.0
"""A store that does not answer for this long is not waited for."""
DROP_S = 2.0
"""Nor for this long where a call may have been stopped: an engine that is stopped has seconds."""


class Spill:
    """One call's text on its way. `outputs`: None where nothing is kept."""

    def __init__(self, outputs: Outputs | None, call_id: str) -> None:
        self._outputs, self._call_id = outputs, call_id
        self._buffer = bytearray()
        self._written = 0

    async def write(self, data: bytes) -> None:
        """Add to it. Waits for the store now and then."""
        if self._outputs is None:
            return
        self._buffer += data
        if self._written + len(self._buffer) > WHOLE_BYTES:
            await self._give_up(self._outputs, f"it takes more than {WHOLE_BYTES} bytes")
            return
        if len(self._buffer) >= PIECE_BYTES:
            await self._flush(self._outputs)

    async def finish(self) -> str | None:
        """Where the whole can be read, if it was kept."""
        await self._flush(self._outputs)
        outputs = self._outputs  # None by now where a piece was refused
        if outputs is None:
            return None
        try:
            async with asyncio.timeout(STORE_S):
                await outputs.whole(self._call_id, self._written)
        except (OutputRefused, RedisError, OSError) as error:
            await self._give_up(outputs, error)
            return None
        return outputs.path(self._call_id)

    async def _flush(self, outputs: Outputs | None) -> None:
        if outputs is None or not self._buffer:
            return
        piece, self._buffer = bytes(self._buffer), bytearray()
        try:
            async with asyncio.timeout(STORE_S):
                await outputs.write(self._call_id, self._written, piece)
        except (OutputRefused, RedisError, OSError) as error:  # TimeoutError is an OSError
            await self._give_up(outputs, error)
            return
        self._written += len(piece)

    async def _give_up(self, outputs: Outputs, why: Exception | str) -> None:
        self._outputs = None
        self._buffer.clear()
        logger.warning("the output of a tool call is not kept whole: %s", why or "the store did not answer")
        if isinstance(why, OutputRefused) and why.why in ("GONE", "FENCED"):
            return
        await drop(outputs, self._call_id)


async def drop(outputs: Outputs | None, call_id: str) -> bool:
    """Free what was kept of a call's text, if anything was. False where the store did not do it."""
    if outputs is None:
        return True
    try:
        async with asyncio.timeout(DROP_S):
            await outputs.drop(call_id)
    except (OutputRefused, RedisError, OSError):  # then another attempt that needs the room frees it
        logger.debug("what was kept of a tool call's output stays", exc_info=True)
        return False
    return True


async def spill(outputs: Outputs | None, call_id: str, whole: bytes) -> str | None:
    """A text that is there already. Returns where it can be read, if it was kept."""
    dropped = await drop(outputs, call_id)  # what the call streamed: one call, one text
    if outputs is None or len(whole) > WHOLE_BYTES:
        return None
    if not dropped:
        logger.warning("the result of a tool call is not kept whole: the store did not answer, or refused")
        return None
    spilling = Spill(outputs, call_id)
    for start in range(0, len(whole), PIECE_BYTES):
        await spilling.write(whole[start : start + PIECE_BYTES])
    return await spilling.finish()
