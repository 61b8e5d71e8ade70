"""One attempt, from the claim to its last event.

Four things run side by side and end together: the engine, whose events are written as they come; the lease keeper; the
hint for the reaper; and the watch for control requests. Losing the hold to another stops everything at once and writes
nothing. A lease that only could not be renewed stops the engine as quickly; then an event that waits for the store, and
is fenced where another took the task, gives it up: an outage never looks like a crash.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import aclosing
from time import monotonic

from redis.exceptions import RedisError

from runcast_agents import Agent
from runcast_events.codec import Envelope
from runcast_events.errors import InvalidEvent
from runcast_events.events import (
    ENGINE_EVENTS,
    Event,
    MessageAdded,
    TaskCancelled,
    TaskCancelling,
    TaskComplete,
    TaskFailed,
    TaskRequeued,
    TaskStarted,
)
from runcast_events.log import Appended
from runcast_events.publisher import Publisher
from runcast_tasks.claim import Claim
from runcast_tasks.control import Requests
from runcast_tasks.errors import LeaseLapsed
from runcast_tasks.submit import message
from runcast_worker.cancel import CancelWatch
from runcast_worker.deps import Deps
from runcast_worker.engines import EngineError
from runcast_worker.limits import Meter, limit_reached
from runcast_worker.reaper import LATER_S
from runcast_worker.stage import open_stage
from runcast_worker.workspace import Workspace, open_workspace
from runcast_worker.writer import Writer

logger = logging.getLogger(__name__)

SETTLE_S = 600.0
"""What is written after the lease lapsed waits for the store this long. Then the reaper has to find the task."""
STOP_S = 8.0
"""An engine that is stopped gets this long to end: its tools have two seconds between SIGTERM and SIGKILL."""
TURN = 64
"""Events of one attempt before the process's other attempts get their turn."""


class Attempt:
    """One hold on one task. Use once: `run`."""

    def __init__(self, deps: Deps, tenant: str, claim: Claim) -> None:
        self._deps, self._tenant, self._claim = deps, tenant, claim
        self._record = claim.record
        self._envelope = Envelope(claim.record.session_id, claim.record.id, claim.record.attempt)
        self._publisher = Publisher(deps.log, claim.hold, self._envelope)
        self._writer = Writer(self._publisher, self._envelope, deps.metrics, claim.record.usage)
        self._over = asyncio.Event()  # set with the last event's way to the publisher: it gives the lease back
        self._lapsed = asyncio.Event()
        requests = Requests(deps.events, claim.hold.keys, claim.record.id)
        self._watch = CancelWatch(requests, self._publisher.control, claim.record.id)
        self._stopped = False  # once set, nothing of the engine's is written any more
        self._about = {"task_id": claim.record.id, "attempt": claim.record.attempt}

    async def run(self) -> str:
        """Returns how it ended: complete, failed, cancelled or requeued. Raises an exception group of LeaseLost,
        EventsError or RedisError where the hold was lost; it then has stopped without a word, as when cancelled."""
        async with self._publisher, asyncio.TaskGroup() as group:
            sides = [
                group.create_task(self._keep(), name="lease keeper"),
                group.create_task(self._postpone(), name="reaper's hint"),
                group.create_task(self._fail_with_publisher(), name="publisher's watch"),
            ]
            try:
                with self._deps.alerts.hearing(self._tenant, self._record.id, self._publisher.control):
                    outcome = await self._live()
                await self._publisher.acknowledged()
            finally:
                self._writer.count()
                for side in sides:
                    side.cancel()
        return outcome

    @property
    def last(self) -> Appended | None:
        """What the store said to its last append."""
        return self._publisher.last

    async def _keep(self) -> None:
        try:
            await self._deps.claims.keep(self._claim, self._over)
        except LeaseLapsed as lapsed:
            logger.warning("%s", lapsed, extra=self._about)
            self._lapsed.set()
            await asyncio.sleep(SETTLE_S)
            raise

    async def _fail_with_publisher(self) -> None:
        await self._publisher.failed.wait()
        await self._publisher.acknowledged()  # raises what it failed of, unless all was written

    async def _postpone(self) -> None:
        """Keep the reaper's look at this task a lease and a little ahead."""
        ttl_s = self._deps.settings.lease_ttl_s
        while True:
            try:
                await self._deps.queue.expect(self._tenant, self._record.id, after_s=ttl_s + LATER_S)
            except (RedisError, OSError) as error:
                logger.warning("the reaper's hint was not renewed: %s", error, extra=self._about)
            await asyncio.sleep(ttl_s / 3)

    async def _live(self) -> str:
        """Start, engine, end: everything that this attempt writes. Returns how it ended."""
        agent = self._deps.agents.get(self._record.agent)
        if agent is None:
            known = ", ".join(sorted(self._deps.agents))
            return await self._end(self._failure("agent", f"no agent {self._record.agent!r} here; there are: {known}"))
        try:
            settings = self._deps.settings
            workspace = await open_workspace(
                settings.workspaces, settings.key_prefix, agent, self._tenant, self._record.session_id
            )
        except OSError as error:
            logger.exception("no workspace", extra=self._about)
            return await self._end(self._failure("workspace", f"the workspace cannot be opened: {error.strerror}"))
        began = monotonic()
        await self._writer.write(
            TaskStarted(worker=self._deps.name, workspace=workspace.origin, sandbox=self._deps.sandbox.tier)
        )
        stop = await self._until_stopped(self._play(agent, workspace), agent.limits.wall_time_s)
        for event in self._writer.transcript.closing():
            await self._writer.write(event)
        if stop is None:
            return await self._complete(int((monotonic() - began) * 1000))
        return await self._end(stop)

    async def _until_stopped(self, play: Coroutine[None, None, None], wall_time_s: float) -> Event | None:
        """Let the engine play. None: it came to its end; else the event that the attempt ends with."""
        playing = asyncio.create_task(play, name="engine")
        asked = asyncio.create_task(self._watch.asked(), name="control requests")
        drained = asyncio.create_task(self._deps.requeue.wait(), name="drain")
        lapsed = asyncio.create_task(self._lapsed.wait(), name="lapsed lease")
        watched = {playing, asked, drained, lapsed}
        stopping = False
        try:
            ended, _ = await asyncio.wait(watched, timeout=wall_time_s, return_when=asyncio.FIRST_COMPLETED)
            if not ended:
                return self._failed(limit_reached("wall_time_s", wall_time_s))
            if playing.done():
                return self._verdict(playing)
            if lapsed.done():
                return TaskRequeued(reason="lease_lost")
            if asked.done():
                stopping = playing.cancel()  # first: while the store is away the publisher may hold up what is written
                await self._writer.write(asked.result().event(TaskCancelling))
                return asked.result().event(TaskCancelled)
            return TaskRequeued(reason="drain")
        finally:
            for task in watched:
                # Once: a second time would break into the end of its tools. task.cancelling() does not tell: a timeout
                # inside, fired in this turn, counts there too.
                if task is not playing or not stopping:
                    task.cancel()
            _, late = await asyncio.wait(watched, timeout=STOP_S)
            self._stopped = True
            for task in late:
                logger.error("the %s did not stop in %g s", task.get_name(), STOP_S, extra=self._about)
                task.cancel()  # it may be held up by the publisher

    def _verdict(self, playing: asyncio.Task[None]) -> Event | None:
        if playing.cancelled():
            return self._failure("engine", "the engine stopped itself")
        error = playing.exception()
        if error is None:
            return None
        if self._publisher.failed.is_set():
            raise error  # it is not the engine's: the hold is lost
        if isinstance(error, EngineError):
            return self._failed(error)
        if isinstance(error, InvalidEvent):
            logger.warning("the engine made an event that cannot be written", extra=self._about)
            return self._failure("engine", str(error))
        logger.error("the engine failed", exc_info=error, extra=self._about)
        return self._failure("engine", f"the engine failed: {type(error).__name__}: {error}"[:2000])

    async def _play(self, agent: Agent, workspace: Workspace) -> None:
        """Write the engine's events as they come, from when the attempt is known to hold its task."""
        # Before that nothing may have effects: the task could have been cancelled while it was queued.
        await self._publisher.acknowledged()
        started = self._publisher.last
        if started is None or started.control or started.duplicate:
            await self._watch.nobody_asked()
        write, meter = self._writer.write, Meter(agent.limits, self._record.tallied)
        engine = self._deps.engines[agent.engine]
        turn = TURN
        async with (
            open_stage(self._deps, self._claim, agent, workspace, self._writer, self._publisher.acknowledged) as task,
            aclosing(engine.run(task)) as events,
        ):
            async for event in events:
                kind = event.event_type
                if kind not in ENGINE_EVENTS:
                    raise EngineError(f"the engine {agent.engine} yielded {kind}, which is not an engine's to write")
                if self._stopped:
                    return
                meter.see(event)
                await write(event)
                turn -= 1
                if not turn:
                    turn = TURN
                    self._writer.count()
                    await asyncio.sleep(0)

    async def _complete(self, duration_ms: int) -> str:
        transcript = self._writer.transcript
        answer = transcript.final_answer
        if answer:
            said = MessageAdded(role="assistant", content=answer)
            await self._writer.write(said, [message("assistant", answer, self._record.id)])
        return await self._end(
            TaskComplete(
                final_answer=answer,
                total_iterations=transcript.iterations,
                duration_ms=duration_ms,
                usage=transcript.usage,
            )
        )

    def _failed(self, error: EngineError) -> TaskFailed:
        failed = self._failure(error.kind, str(error), error.retryable)
        logger.warning("the engine gave up: %s: %s", failed.kind, failed.error, extra=self._about)
        return failed

    def _failure(self, kind: str, error: str, retryable: bool = False) -> TaskFailed:
        # A message may quote what cannot be written as UTF-8, and a secret.
        said = self._deps.redactor().whole(error.encode(errors="replace").decode())
        return TaskFailed(error=said, kind=kind, retryable=retryable)

    async def _end(self, event: Event) -> str:
        self._over.set()
        await self._writer.write(event)
        return event.event_type.removeprefix("task_")
