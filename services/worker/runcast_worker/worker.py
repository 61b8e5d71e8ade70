"""The worker: its doorbell, reaper, census, janitor, canary and admin endpoint, from start to the end of the drain."""

import asyncio
import logging

from redis.exceptions import RedisError

from runcast_service.admin import admin_server
from runcast_tasks.census import Census
from runcast_worker.canary import Canary
from runcast_worker.deps import Deps
from runcast_worker.doorbell import Doorbell
from runcast_worker.janitor import Janitor
from runcast_worker.reaper.reaper import Reaper
from runcast_worker.runner import Runner

logger = logging.getLogger(__name__)

READY_S = 1.0
CENSUS_LOOKS = 5
"""The reaper looks so often while the census looks once."""


async def work(deps: Deps, stop: asyncio.Event) -> None:
    """Run tasks until `stop` is set, then drain: what is running ends by itself or goes to another worker."""
    settings, keys = deps.settings, deps.queue.keys
    doorbell = Doorbell(
        deps.queue_redis,
        keys,
        deps.name,
        Runner(deps).run,
        max_jobs=settings.max_jobs,
        poll_delay_s=settings.poll_delay_s,
    )

    census = Census(deps.events, deps.queue_redis, deps.keyspace, deps.queue)
    alerts = deps.alerts.channel(settings.events_url, deps.name, deps.keyspace)

    async def ready() -> str | None:
        if stop.is_set():
            return "draining"
        try:
            async with asyncio.timeout(READY_S):
                await asyncio.gather(deps.events.ping(), deps.queue_redis.ping())
        except (RedisError, OSError) as error:
            return f"a store does not answer: {type(error).__name__}"
        return None

    async with admin_server(settings, ready, deps.metrics.registry) as admin:
        try:
            async with asyncio.TaskGroup() as group:
                parts = [
                    group.create_task(doorbell.main(), name="doorbell"),
                    group.create_task(doorbell.wake_channel(settings.redis_url, deps.name, keys).run(), name="wake"),
                    group.create_task(alerts.run(), name="alerts"),
                    group.create_task(Reaper(deps).run(), name="reaper"),
                    group.create_task(census.run(CENSUS_LOOKS * settings.reap_every_s), name="census"),
                    group.create_task(Janitor(deps).run(), name="janitor"),
                    group.create_task(Canary(deps).run(), name="canary"),
                ]
                logger.info("worker %s is up", deps.name, extra={"admin_port": admin.port})
                await stop.wait()
                logger.info("draining")
                deps.draining.set()
                await doorbell.drain(settings.drain_s, deps.requeue)
                for part in parts:
                    part.cancel()
        finally:
            await doorbell.drain(0, deps.requeue)  # where a part has failed, what runs is given back all the same
    logger.info("worker %s has ended", deps.name)
