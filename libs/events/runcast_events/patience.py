"""Reading from a store that may be away for a while."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

from runcast_events.redis import passes

logger = logging.getLogger(__name__)

T = TypeVar("T")

LONGEST_S = 1.0


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    """What `read` gives, however long the store is away: the caller's owner bounds it, by its lease. Raises what does
    not pass, such as a refusal."""
    delay_s = 0.05
    while True:
        try:
            return await read()
        except (RedisError, OSError) as error:
            if not passes(error):
                raise
            logger.warning("a read waits for the store: %s", str(error) or type(error).__name__)
        await asyncio.sleep(delay_s)
        delay_s = min(delay_s * 2, LONGEST_S)
