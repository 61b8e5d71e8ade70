"""The reaper: finds tasks that nobody looks after, and has them looked after.

It follows the hints in `due`. A task that is queued and unheld is rung for again; one whose worker is not heard of for
two leases is taken from it and queued again, or failed when that happened too often. Every worker runs one: what two
reapers do at once is done once, since the operation's id tells them apart from a retry of the same.
"""

import asyncio
import logging
from time import monotonic

from redis.exceptions import RedisError

from runcast_events.codec import Envelope
from runcast_events.errors import AlreadyTerminal, Gone, IllegalMove, InvalidId
from runcast_events.events import Event, TaskFailed, TaskRequeued
from runcast_events.ids import check_task_id, check_tenant
from runcast_events.log import Write
from runcast_events.states import TERMINAL
from runcast_tasks.errors import NotFound
from runcast_tasks.record import Records, TaskRecord
from runcast_worker.deps import Deps

logger = logging.getLogger(__name__)

MAX_CRASHES = 3
AT_ONCE = 100


class Reaper:
    """One per process."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._trusts_from = 0.0
        """Monotonic: after an outage attempts first get one lease to renew theirs."""

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        settings, looked_at = self._deps.settings, monotonic()
        while True:
            await asyncio.sleep(settings.reap_every_s)
            if monotonic() - looked_at > 2 * settings.reap_every_s + settings.lease_ttl_s:
                self._distrust()  # this process stood still: so may others
            try:
                for tenant, task_id in await self._deps.queue.due(AT_ONCE):
                    await self._look_after(tenant, task_id)
            except (RedisError, OSError) as error:
                logger.warning("the reaper waits for the store: %s", error or type(error).__name__)
                self._distrust()
            looked_at = monotonic()

    def _distrust(self) -> None:
        self._trusts_from = monotonic() + self._deps.settings.lease_ttl_s

    async def _look_after(self, tenant: str, task_id: str) -> None:
        deps = self._deps
        try:
            record = await Records(deps.events, deps.keyspace, check_tenant(tenant)).task(check_task_id(task_id))
        except (NotFound, InvalidId):
            return await self._forget(tenant, task_id)
        if record.state in TERMINAL:
            return await self._forget(tenant, task_id)
        keys = deps.keyspace.session(tenant, record.session_id)
        head = await deps.events.lindex(keys.queue, 0)  # type: ignore[misc]
        if head != task_id.encode() or await deps.events.exists(keys.lease):
            return await deps.queue.expect(tenant, task_id, after_s=2 * deps.settings.lease_ttl_s)
        if record.state == "queued":
            return await self._ring(tenant, record, "rung")
        if record.state == "running" and monotonic() >= self._trusts_from:
            return await self._take(tenant, record)
        return await deps.queue.expect(tenant, task_id, after_s=deps.settings.lease_ttl_s)

    async def _take(self, tenant: str, record: TaskRecord) -> None:
        """The attempt is believed dead: fence it off, and have another made, or give the task up."""
        crashes = record.crashes + 1
        poison = crashes >= MAX_CRASHES
        error = f"{crashes} workers vanished while they ran this task"
        event: Event = (
            TaskFailed(error=error, kind="poison", retryable=False) if poison else TaskRequeued(reason="crash")
        )
        logger.warning("a worker is gone: %s", event.event_type, extra={"task_id": record.id, "fence": record.fence})
        try:
            appended = await self._deps.log.append_control(
                self._deps.keyspace.session(tenant, record.session_id),
                f"reap-{record.id}-{record.fence}",
                [Envelope(record.session_id, record.id, record.attempt).encode(event)],
                [Write("record", "crashes", str(crashes))],
                task_id=record.id,
                legal=("running",),
            )
        except (AlreadyTerminal, Gone):
            return await self._forget(tenant, record.id)
        except IllegalMove:
            return await self._ring(tenant, record, "rung")  # another reaper was faster
        if not poison:
            return await self._ring(tenant, record, "requeued")
        if appended.next_task is not None:
            await self._deps.queue.ring(tenant, appended.next_task)
        self._deps.metrics.reaped.labels("poisoned").inc()
        await self._deps.queue.forget(tenant, record.id)
        return None

    async def _ring(self, tenant: str, record: TaskRecord, action: str) -> None:
        self._deps.metrics.reaped.labels(action).inc()
        await self._deps.queue.expect(tenant, record.id)
        # Named by the fence: where all workers are busy one ring waits however often we look. A claim ends its name.
        await self._deps.queue.ring(tenant, record.id, f"again-{record.fence}")

    async def _forget(self, tenant: str, task_id: str) -> None:
        self._deps.metrics.reaped.labels("forgotten").inc()
        await self._deps.queue.forget(tenant, task_id)
