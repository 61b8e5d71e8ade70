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

from runcast_agents import Agent
from runcast_events.answer import Appended
from runcast_events.events import (
    ENGINE_EVENTS,
    Event,
    MessageAdded,
    TaskCancelled,
    TaskCancelling,
    TaskComplete,
    TaskPaused,
    TaskPausing,
    TaskRequeued,
    TaskStarted,
)
from runcast_events.publisher import Publisher
from runcast_tasks.claim import Claim
from runcast_tasks.control import Requests
from runcast_tasks.errors import LeaseLapsed, LeaseLost
from runcast_tasks.submit import message
from runcast_worker.attempt.asked import Watch
from runcast_worker.attempt.hint import postpone
from runcast_worker.attempt.limits import Meter, limit_reached
from runcast_worker.attempt.stage import open_stage
from runcast_worker.attempt.verdict import Ending, Verdict
from runcast_worker.attempt.writer import Writer
from runcast_worker.deps import Deps
from runcast_worker.engines import EngineError, HandOver, Saved
from runcast_worker.metrics import since_submit_s
from runcast_worker.spans import attempt_envelope
from runcast_worker.workspace import Workspace, open_workspace

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
        self._envelope = attempt_envelope(claim.record)
        self._publisher = Publisher(deps.log, claim.hold, self._envelope)
        self._writer = Writer(self._publisher, self._envelope, claim.record)
        self._over = asyncio.Event()  # set with the last event's way to the publisher: it gives the lease back
        self._lapsed = asyncio.Event()
        requests = Requests(deps.events, claim.hold.keys, claim.record.id)
        self._watch = Watch(requests, self._publisher.control)
        self._stopped = False  # once set, nothing of the engine's is written any more
        self._verdict = Verdict(deps.redactor)

    async def run(self) -> str:
        """Returns how it ended: complete, failed, cancelled or requeued. Raises an exception group of LeaseLost,
        EventsError or RedisError where the hold was lost; it then has stopped without a word, as when cancelled."""
        async with self._publisher, asyncio.TaskGroup() as group:
            sides = [
                group.create_task(self._keep(), name="lease keeper"),
                group.create_task(postpone(self._deps, self._tenant, self._record.id), name="reaper's hint"),
                group.create_task(self._fail_with_publisher(), name="publisher's watch"),
            ]
            try:
                with self._deps.alerts.hearing(self._tenant, self._record.id, self._publisher.control):
                    outcome = await self._live()
                await self._publisher.acknowledged()
            finally:
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
            logger.warning("%s", lapsed)
            self._deps.metrics.leases_lost.labels("lapsed").inc()
            self._lapsed.set()
            await asyncio.sleep(SETTLE_S)
            raise
        except LeaseLost:
            self._deps.metrics.leases_lost.labels("another").inc()
            raise

    async def _fail_with_publisher(self) -> None:
        await self._publisher.failed.wait()
        await self._publisher.acknowledged()  # raises what it failed of, unless all was written

    async def _live(self) -> str:
        """Start, engine, end: everything that this attempt writes. Returns how it ended."""
        agent = self._deps.agents.get(self._record.agent)
        if agent is None:
            known = ", ".join(sorted(self._deps.agents))
            return await self._end(
                self._verdict.failure("agent", f"no agent {self._record.agent!r} here; there are: {known}")
            )
        try:
            settings = self._deps.settings
            workspace = await open_workspace(
                settings.workspaces, settings.key_prefix, agent, self._tenant, self._record.session_id
            )
        except OSError as error:
            logger.exception("no workspace")
            return await self._end(
                self._verdict.failure("workspace", f"the workspace cannot be opened: {error.strerror}")
            )
        began = monotonic()
        await self._writer.write(
            TaskStarted(worker=self._deps.name, workspace=workspace.origin, sandbox=self._deps.sandbox.tier)
        )
        ending = await self._until_stopped(self._play(agent, workspace), agent.limits.wall_time_s)
        if ending is None or ending.open == "closed":
            for event in self._writer.transcript.closing():
                await self._writer.write(event)
        elif ending.open == "interrupted":
            for event in self._writer.transcript.closing(iteration=False):
                await self._writer.interrupt(event)
        if ending is None:
            return await self._complete(int((monotonic() - began) * 1000))
        return await self._end(ending)

    async def _until_stopped(self, play: Coroutine[None, None, None], wall_time_s: float) -> Ending | None:
        """Let the engine play. None: it came to its end; else what the attempt ends with."""
        playing = asyncio.create_task(play, name="engine")
        asked = asyncio.create_task(self._watch.cancelled(), name="control requests")
        drained = asyncio.create_task(self._deps.requeue.wait(), name="drain")
        lapsed = asyncio.create_task(self._lapsed.wait(), name="lapsed lease")
        pausing = asyncio.create_task(self._tell_pausing(), name="pause")
        ends, watched = {playing, asked, drained, lapsed}, {playing, asked, drained, lapsed, pausing}
        stopping = False
        try:
            ended, _ = await asyncio.wait(ends, timeout=wall_time_s, return_when=asyncio.FIRST_COMPLETED)
            if not ended:
                return self._verdict.of(limit_reached("wall_time_s", wall_time_s))
            if playing.done():
                return self._judge(playing)
            if lapsed.done():
                return Ending(TaskRequeued(reason="lease_lost"), open="interrupted")
            if asked.done():
                stopping = playing.cancel()  # first: while the store is away the publisher may hold up what is written
                await self._writer.write(asked.result().event(TaskCancelling))
                return Ending(asked.result().event(TaskCancelled))
            return Ending(TaskRequeued(reason="drain"), open="interrupted")
        finally:
            for task in watched:
                # Once: a second time would break into the end of its tools. task.cancelling() does not tell: a timeout
                # inside, fired in this turn, counts there too.
                if task is not playing or not stopping:
                    task.cancel()
            _, late = await asyncio.wait(watched, timeout=STOP_S)
            self._stopped = True
            for task in late:
                logger.error("the %s did not stop in %g s", task.get_name(), STOP_S)
                task.cancel()  # it may be held up by the publisher

    async def _tell_pausing(self) -> None:
        await self._watch.pausing.wait()
        assert self._watch.pause is not None
        await self._writer.write(self._watch.pause.event(TaskPausing))

    def _judge(self, playing: asyncio.Task[None]) -> Ending | None:
        if playing.cancelled():
            return self._verdict.failure("engine", "the engine stopped itself")
        error = playing.exception()
        if error is not None and self._publisher.failed.is_set():
            raise error  # it is not the engine's: the hold is lost
        return self._verdict.of(error)

    async def _play(self, agent: Agent, workspace: Workspace) -> None:
        """Write the engine's events as they come, from when the attempt is known to hold its task."""
        # Before that nothing may have effects: the task could have been cancelled while it was queued.
        await self._publisher.acknowledged()
        started = self._publisher.last
        if started is None or started.control or started.duplicate:
            await self._watch.nobody_asked()
        write, meter = self._writer.write, Meter(agent.limits, self._record.tallied)
        engine = self._deps.engines[agent.engine]
        turn, saved, first, metrics = TURN, False, self._record.attempt == 1, self._deps.metrics
        async with (
            open_stage(self._deps, self._claim, agent, workspace, self._writer, self._publisher) as task,
            aclosing(engine.run(task)) as events,
        ):
            async for step in events:
                event, writes = (step.event, self._writer.saving(step)) if isinstance(step, Saved) else (step, ())
                kind = event.event_type
                if kind not in ENGINE_EVENTS and not (isinstance(step, Saved) and step.heard):
                    raise EngineError(f"the engine {agent.engine} yielded {kind}, which is not an engine's to write")
                if self._stopped:
                    return
                if kind == "iteration_start":
                    metrics.iterations.labels(self._record.agent).inc()
                    self._let_go(event, saved or task.checkpoint is not None)
                saved = saved or bool(writes)
                if not self._writer.journal.knows(event):
                    meter.see(event)
                await write(event, writes)
                if first:
                    metrics.first_event_seconds.labels(self._record.agent).observe(since_submit_s(self._record))
                first = False
                turn -= 1
                if not turn:
                    turn = TURN
                    await asyncio.sleep(0)

    def _let_go(self, start: Event, resumable: bool) -> None:
        """Between two iterations: whoever drains or is asked to pause lets go here. Raises HandOver."""
        if self._watch.pause is not None and (resumable or (start.iteration or 0) > 1):
            raise HandOver(TaskPaused(by=self._watch.pause.by))
        if resumable and self._deps.draining.is_set():
            raise HandOver(TaskRequeued(reason="drain"))

    async def _complete(self, duration_ms: int) -> str:
        transcript = self._writer.transcript
        answer = transcript.final_answer
        event = TaskComplete(
            final_answer=answer, total_iterations=transcript.iterations, duration_ms=duration_ms, usage=transcript.usage
        )
        # In one step: an attempt that takes over from one that died in between would add the answer a second time.
        said = MessageAdded(role="assistant", content=answer), [message("assistant", answer, self._record.id)]
        return await self._end(Ending(event, before=[said] if answer else ()))

    async def _end(self, ending: Ending) -> str:
        self._over.set()
        await self._writer.end(ending.event, ending.writes, ending.before)
        return ending.event.event_type.removeprefix("task_")
