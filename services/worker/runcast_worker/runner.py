"""Attempts one after the other: claim, run, count, and ring for what comes next."""

import logging
from collections.abc import Awaitable, Callable

from redis.exceptions import RedisError

from runcast_events.answer import Appended
from runcast_events.errors import EventsError
from runcast_events.ids import session_of
from runcast_events.states import TERMINAL
from runcast_service.logging import bound
from runcast_service.tracing import entered
from runcast_tasks.claim import Claim
from runcast_tasks.errors import LastChance, LeaseLost, NotFound
from runcast_tasks.record import Records, TaskRecord
from runcast_worker.attempt.attempt import Attempt
from runcast_worker.attempt.hint import LATER_S
from runcast_worker.deps import Deps
from runcast_worker.metrics import UNKNOWN, since_submit_s
from runcast_worker.reaper.late import answer_late
from runcast_worker.spans import attempt_span, tell_outcome

logger = logging.getLogger(__name__)


class Runner:
    """Runs attempts, one per call."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._last_chance = False  # whether a task runs that the next crash would end

    async def run(self, tenant: str, task_id: str, claimed: Callable[[], Awaitable[None]]) -> None:
        """Look at the task's session: run its head task where it can be had, else return. `claimed` is called when it
        is ours. Raises InvalidId, LastChance, RedisError and OSError only while nothing is claimed."""
        claims, session_id = self._deps.claims, session_of(task_id)
        # Before the claim, which takes the ring away: who dies right after it has left the hint to look for the lease.
        await self._deps.queue.expect(tenant, task_id, after_s=self._deps.settings.lease_ttl_s + LATER_S)
        try:
            claim = await claims.claim(tenant, session_id, last_chance=False)
        except LastChance:
            if self._last_chance:
                raise
            return await self._run_alone(tenant, session_id, claimed)
        if claim is not None:
            await claimed()
            await self._named(tenant, claim)
        return None

    async def _run_alone(self, tenant: str, session_id: str, claimed: Callable[[], Awaitable[None]]) -> None:
        """Beside no other task that the next crash ends: one of them brings its workers down, and they were with it."""
        self._last_chance = True
        try:
            claim = await self._deps.claims.claim(tenant, session_id)
            if claim is not None:
                await claimed()
                await self._named(tenant, claim)
        finally:
            self._last_chance = False

    async def _named(self, tenant: str, claim: Claim) -> None:
        """An attempt, of which every line and span says whose it is."""
        record = claim.record
        agent = record.agent if record.agent in self._deps.agents else UNKNOWN
        about = bound(session_id=record.session_id, task_id=record.id, attempt=record.attempt)
        with about, entered(attempt_span(self._deps.tracer, record, agent)):
            await self._attempt(tenant, claim, agent)

    async def _attempt(self, tenant: str, claim: Claim, label: str) -> None:
        """Returns when the attempt is over, however it ended. `label`: its agent's, in metrics."""
        metrics, record = self._deps.metrics, claim.record
        metrics.started.labels(label).inc()
        if record.attempt == 1:
            metrics.queue_seconds.labels(label).observe(since_submit_s(record))
        logger.info("attempt begins")
        attempt, outcome, last = Attempt(self._deps, tenant, claim), "lost", None
        with metrics.running.track_inprogress():
            try:
                outcome = await attempt.run()
                last = attempt.last
            except* (LeaseLost, EventsError, RedisError, OSError) as lost:
                reasons = "; ".join(str(error) or type(error).__name__ for error in lost.exceptions)
                logger.warning("attempt stopped without an end: %s", reasons)
                outcome = await self._found(tenant, claim)
            finally:
                metrics.ended.labels(label, outcome).inc()
                if outcome in TERMINAL:
                    metrics.task_seconds.labels(label, outcome).observe(since_submit_s(record))
        tell_outcome(outcome)
        logger.info("attempt ends: %s", outcome)
        if outcome != "lost":
            await self._pass_on(tenant, record, outcome, last)

    async def _found(self, tenant: str, claim: Claim) -> str:
        """How an attempt ended that does not know it: its terminal event may be in the log although it was lost."""
        try:
            record = await Records(self._deps.events, self._deps.keyspace, tenant).task(claim.record.id)
        except (NotFound, RedisError, OSError) as error:
            logger.warning("the end is not known: %s", error)
            return "lost"
        return record.state if record.state in TERMINAL and record.fence == claim.hold.fence else "lost"

    async def _pass_on(self, tenant: str, record: TaskRecord, outcome: str, last: Appended | None) -> None:
        """Ring for what runs next. What cannot be rung for is found by the reaper."""
        queue = self._deps.queue
        try:
            if outcome == "requeued":
                await queue.ring(tenant, record.id)
                return
            if outcome not in TERMINAL:  # it rests
                keys = self._deps.keyspace.session(tenant, record.session_id)
                if await answer_late(self._deps, tenant, keys, record.id):
                    return
            following = last.next_task if last else None
            if last is None or last.duplicate:  # the answer that named the next task was lost
                records = Records(self._deps.events, self._deps.keyspace, tenant)
                following = next(iter(await records.live(record.session_id)), None)
            if following is not None:
                await queue.ring(tenant, following)
            await queue.forget(tenant, record.id)
        except (RedisError, OSError) as error:
            logger.warning("the queue store could not be told: %s", error)
