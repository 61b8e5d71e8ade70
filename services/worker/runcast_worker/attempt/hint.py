"""The hint that an attempt leaves for the reaper: by when to look whether its worker is still there."""

import asyncio
import logging

from redis.exceptions import RedisError

from runcast_worker.deps import Deps

logger = logging.getLogger(__name__)

LATER_S = 0.2
"""A hint comes up this long after the lease that it is about has lapsed."""


async def postpone(deps: Deps, tenant: str, task_id: str) -> None:
    """Keep the reaper's look at a task that runs here a lease and a little ahead, until cancelled."""
    ttl_s = deps.settings.lease_ttl_s
    while True:
        try:
            await deps.queue.put_off(tenant, task_id, ttl_s + LATER_S)
        except (RedisError, OSError) as error:
            logger.warning("the reaper's hint was not renewed: %s", error, extra={"task_id": task_id})
        await asyncio.sleep(ttl_s / 3)
