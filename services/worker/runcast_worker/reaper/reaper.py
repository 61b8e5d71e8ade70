"""The reaper: finds tasks that nobody looks after, and has them looked after.

It follows the hints in `due`. A task that is queued and unheld is rung for again; one whose lease has lapsed is taken
from its worker and queued again, failed when that happened too often, or cancelled when somebody asked for it. Every
worker runs one: what two reapers do at once is done once, since the operation's id tells them apart from a retry of the
same.
"""

import asyncio
import logging
from time import monotonic

from redis.exceptions import RedisError

from runcast_events.codec import Envelope
from runcast_events.errors import AlreadyTerminal, Gone, IllegalMove, InvalidId
from runcast_events.events import Event, TaskCancelled, TaskFailed, TaskRequeued
from runcast_events.ids import check_task_id, check_tenant
from runcast_events.log import Write
from runcast_events.redis import passes
from runcast_events.states import TERMINAL
from runcast_tasks.claim import MAX_CRASHES
from runcast_tasks.control import Requests
from runcast_tasks.errors import NotFound
from runcast_tasks.queue import again
from runcast_tasks.record import Records, TaskRecord
from runcast_worker.attempt.asked import waiting_cancel
from runcast_worker.attempt.hint import LATER_S
from runcast_worker.deps import Deps
from runcast_worker.reaper.late import answer_late
from runcast_worker.reaper.left_open import close_left_open
from runcast_worker.reaper.trust import Trust

logger = logging.getLogger(__name__)

RESTING = frozenset({"paused", "waiting_approval"})
"""Whoever moves them on rings for them."""
AT_ONCE = 100


class Reaper:
    """One per process."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._trust = Trust(deps.events, deps.settings.lease_ttl_s)

    async def run(self) -> None:
        """Look every few seconds, until cancelled."""
        settings, looked_at, more = self._deps.settings, monotonic(), False
        while True:
            await asyncio.sleep(0 if more else settings.reap_every_s)
            more = False
            try:
                await self._trust.meet()
                hints = await self._deps.queue.due(AT_ONCE)
                if monotonic() - looked_at > 2 * settings.reap_every_s + settings.lease_ttl_s:
                    self._trust.lose()
                for tenant, task_id in hints:
                    await self._look(tenant, task_id)
                more = len(hints) == AT_ONCE
            except (RedisError, OSError) as error:
                logger.warning("the reaper waits for the store: %s", str(error) or type(error).__name__)
                self._trust.lose()
            looked_at = monotonic()

    async def _look(self, tenant: str, task_id: str) -> None:
        """A task that cannot be looked after must hold up no other, and end no reaper: every worker's would meet it."""
        try:
            await self._look_after(tenant, task_id)
        except Exception as error:
            if isinstance(error, RedisError | OSError) and passes(error):
                raise
            logger.exception("a task cannot be looked after", extra={"task_id": task_id})
            await self._deps.queue.put_off(tenant, task_id, self._deps.settings.lease_ttl_s)

    async def _look_after(self, tenant: str, task_id: str) -> None:
        deps, asked_at, ttl_s = self._deps, monotonic(), self._deps.settings.lease_ttl_s
        try:
            record = await Records(deps.events, deps.keyspace, check_tenant(tenant)).task(check_task_id(task_id))
        except (NotFound, InvalidId):
            return await self._forget(tenant, task_id)
        keys = deps.keyspace.session(tenant, record.session_id)
        if record.state in RESTING and await answer_late(deps, tenant, keys, task_id):
            return None
        if record.state in TERMINAL or record.state in RESTING:
            return await self._forget(tenant, task_id)
        head = await deps.events.lindex(keys.queue, 0)  # type: ignore[misc]
        lease_ms = await deps.events.pttl(keys.lease)
        if monotonic() - asked_at > ttl_s / 2:
            self._trust.lose()  # the store is slow: renewals may be as late
        if head != task_id.encode():
            if head is not None:
                await answer_late(deps, tenant, keys, head.decode())
                if lease_ms <= 0:  # whoever claimed it by this task's ring may have died before it left a hint
                    await deps.queue.expect(tenant, head.decode(), LATER_S)
            return await deps.queue.put_off(tenant, task_id, ttl_s)
        if lease_ms > 0:
            return await deps.queue.put_off(tenant, task_id, lease_ms / 1000 + LATER_S)
        if record.state == "queued":
            return await self._ring(tenant, record, "rung")
        await self._trust.meet()
        if record.state == "running" and not self._trust.left_s:
            return await self._take(tenant, record)
        if self._trust.just_met:
            await deps.queue.doubt(record.id, record.fence)  # for all reapers: another may look next
        return await deps.queue.put_off(tenant, task_id, max(LATER_S, self._trust.left_s))

    async def _take(self, tenant: str, record: TaskRecord) -> None:
        """The attempt is believed dead: fence it off, and have another made, or give the task up."""
        keys = self._deps.keyspace.session(tenant, record.session_id)
        cancel = await waiting_cancel(Requests(self._deps.events, keys, record.id))
        crashes = record.crashes + (await self._deps.queue.doubted(record.id) != record.fence)
        event: Event = TaskRequeued(reason="crash" if crashes > record.crashes else "lease_lost")
        if cancel is not None:
            event = cancel.event(TaskCancelled)
        elif crashes > record.crashes and crashes >= MAX_CRASHES:
            error = f"{crashes} workers vanished while they ran this task"
            event = TaskFailed(error=error, kind="poison", retryable=False)
        logger.warning("a worker is gone: %s", event.event_type, extra={"task_id": record.id, "fence": record.fence})
        # Of this very attempt, and nobody renewed its lease meanwhile: else it lives, or was taken already.
        writes = [Write("unchanged", "fence", record.fence), Write("unheld", "", "")]
        events, writes = [event], [*writes, Write("record", "crashes", str(crashes))]
        if not isinstance(event, TaskRequeued):
            before, unchanged = await close_left_open(self._deps, keys, record)
            events, writes = [*before, event], [*writes, unchanged]
        envelope = Envelope(record.session_id, record.id, record.attempt, record.traceparent)
        try:
            appended = await self._deps.log.append_control(
                keys,
                f"reap-{record.id}-{record.fence}",
                [envelope.encode(each) for each in events],
                writes,
                task_id=record.id,
                legal=("running",),
            )
        except (AlreadyTerminal, Gone):
            return await self._forget(tenant, record.id)
        except IllegalMove:
            return await self._ring(tenant, record, "rung")  # another reaper was faster, or its attempt lives
        if isinstance(event, TaskRequeued):
            return await self._ring(tenant, record, "rung" if appended.duplicate else "requeued")
        if appended.next_task is not None:
            await self._deps.queue.ring(tenant, appended.next_task)
        if not appended.duplicate:  # else another reaper's
            self._deps.metrics.reaped.labels("cancelled" if cancel else "poisoned").inc()
        await self._deps.queue.forget(tenant, record.id)
        return None

    async def _ring(self, tenant: str, record: TaskRecord, action: str) -> None:
        self._deps.metrics.reaped.labels(action).inc()
        # A lease later, as by a claim: another worker may have claimed it by now, and be gone before it tells more.
        await self._deps.queue.put_off(tenant, record.id, self._deps.settings.lease_ttl_s + LATER_S)
        # Named by the fence: where all workers are busy one ring waits however often we look. A claim ends its name.
        await self._deps.queue.ring(tenant, record.id, again(record.fence))

    async def _forget(self, tenant: str, task_id: str) -> None:
        self._deps.metrics.reaped.labels("forgotten").inc()
        await self._deps.queue.forget(tenant, task_id)
