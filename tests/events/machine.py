"""A state machine over one session's log: attempts, zombies, control operations, readers and a faulty store, in any
order that hypothesis thinks of. What it records is checked against guarantees 1 to 4; a wrong script must fail it.
"""

import asyncio
import json
import secrets
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from redis.asyncio import Redis

from runcast_events.codec import Encoded, Envelope
from runcast_events.continuity import follows
from runcast_events.errors import AlreadyTerminal, AppendRefused, Fenced, Gone, IllegalMove
from runcast_events.events import SessionDeleted, TaskCancelled, TaskPaused, TaskRequeued, TaskResumed
from runcast_events.ids import START, EventId
from runcast_events.log import LogLimits, Write
from runcast_events.publisher import Publisher, PublisherLimits
from runcast_events.reader import LogReader
from runcast_events.redis import connect
from runcast_events.states import LIVE
from tests.attempts import Attempt, claim, entries, session_keys, submit
from tests.events.dropping import DroppingReader, check_recorded
from tests.events.unreliable import UnreliableLog
from tests.history import check_tasks

T = TypeVar("T")
KEYS = session_keys()
TOLD = ("task_started", "output", "task_complete")
ENDS = (Fenced, Gone, AlreadyTerminal, IllegalMove)


class LogMachine(RuleBasedStateMachine):
    """Runs on a database of its own; `script` and `url` are set by the test."""

    url: ClassVar[str]
    script: ClassVar[str | None] = None

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.redis = self.run(self._open())
        self.attempts: list[tuple[Attempt, Publisher]] = []
        self.clients = [DroppingReader(), DroppingReader()]
        self.content: dict[EventId, bytes] = {}
        self.rolled_back: set[int] = set()  # attempts that a rollback may have touched
        self.copy: dict[bytes, bytes] | None = None
        self.marks = 0
        self.deleted = False

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(coroutine)

    async def _open(self) -> Redis:
        redis = connect(self.url, "machine")
        await redis.flushdb()
        return redis

    @initialize(max_entries=st.sampled_from([18, 10_000]), ring=st.sampled_from([600, 10**6]))
    def begin(self, max_entries: int, ring: int) -> None:
        self.trims = max_entries < 1000
        self.log = UnreliableLog(self.redis, LogLimits(max_entries=max_entries), script=self.script)
        self.limits = PublisherLimits(linger_s=0, batch_events=3, ring_bytes=ring)
        self.run(submit(self.log))

    # --- tasks and attempts ----------------------------------------------------------------------------------------

    @rule()
    def submit(self) -> None:
        self.run(self._expect(submit(self.log), Gone))

    @rule()
    def claim(self) -> None:
        """Whoever is at the head, if it may be claimed."""
        self.run(self._claim())

    @rule()
    def take_over(self) -> None:
        """The reaper's verdict: the holder's worker vanished. It may be alive all the same: a zombie."""
        self.run(self._take_over())

    @precondition(lambda self: self.attempts)
    @rule(data=st.data(), count=st.integers(1, 5), lost=st.booleans())
    def publish(self, data: st.DataObject, count: int, lost: bool) -> None:
        """Any attempt, zombie or not, writes; what it is told must be true."""
        index = data.draw(st.integers(0, len(self.attempts) - 1), label="attempt")
        self.run(self._publish(index, count, lost))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.attempts) - 1), label="attempt")
        attempt, publisher = self.attempts[index]
        self.run(self._hand_over(index, [attempt.complete()], publisher))

    # --- control ---------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A control operation on a task that nobody runs."""
        queue = self.run(self._queue())
        if queue:
            task_id = data.draw(st.sampled_from(queue), label="task")
            self.run(self._expect(self._control(task_id, TaskCancelled(by="test"), legal=["queued"])))

    @rule(attempts=st.integers(1, 2))
    def delete(self, attempts: int) -> None:
        if attempts == 2 and not self.run(self._queue()):  # seldom: nothing happens to a session afterwards
            event = [Envelope("s1").encode(SessionDeleted())]
            self.run(self._expect(self.log.append_control(KEYS, secrets.token_hex(8), event)))

    @rule(data=st.data(), resume=st.booleans())
    def pause(self, data: st.DataObject, resume: bool) -> None:
        """Or resume: of a task that nobody runs."""
        queue = self.run(self._queue())
        if queue:
            task_id = data.draw(st.sampled_from(queue), label="task")
            event, legal = (TaskResumed(by="test"), "paused") if resume else (TaskPaused(by="test"), "queued")
            self.run(self._expect(self._control(task_id, event, legal=[legal])))

    @precondition(lambda self: self.attempts)
    @rule(data=st.data())
    def let_go(self, data: st.DataObject) -> None:
        """Any attempt, zombie or not, pauses its task: the holder's hold ends with it."""
        index = data.draw(st.integers(0, len(self.attempts) - 1), label="attempt")
        attempt, publisher = self.attempts[index]
        self.run(self._hand_over(index, [attempt.envelope.encode(TaskPaused(by="attempt"))], publisher))

    @rule()
    def interrupt(self) -> None:
        """Submit a task that goes right behind the holder, which is asked to end in the same step."""
        self.run(self._expect(self._interrupt(), Gone))

    # --- readers and the store -------------------------------------------------------------------------------------

    @rule(index=st.integers(0, 1), count=st.integers(1, 30))
    def read(self, index: int, count: int) -> None:
        self.run(self.clients[index].read(self.redis, count))

    @rule()
    def copy_store(self) -> None:
        """What a replica, or the file on disk, has at this moment."""
        self.copy = self.run(self._dump())

    @precondition(lambda self: self.copy is not None)
    @rule()
    def roll_back(self) -> None:
        """Failover to that replica, or restore of that file: acknowledged writes are lost."""
        self.run(self._roll_back())

    @rule(count=st.integers(1, 2))
    def fill(self, count: int) -> None:
        """A full store takes nothing new, and what was refused is in the log once there is room."""
        if self.attempts:
            self.run(self._fill(count))

    # --- what must hold --------------------------------------------------------------------------------------------

    @invariant()
    def an_id_never_has_two_contents(self) -> None:
        """Rolled back or not: what anybody may have seen under an id is all that ever stands there."""
        for entry in self.run(entries(self.redis)):
            known = self.content.setdefault(entry.id, entry.payload)
            assert known == entry.payload, f"{entry.id} was reused with other content"

    @invariant()
    def what_goes_with_an_event_is_written_when_it_is(self) -> None:
        """Once, in its order, and never without it: every event of an attempt brings a message of its own here."""
        if hasattr(self, "log") and not self.trims:
            log = self.run(entries(self.redis))
            told = [entry.payload for entry in log if entry.type in TOLD or b'"by":"attempt"' in entry.payload]
            deleted = bool(log) and log[-1].type == "session_deleted"
            assert self.run(self._messages()) == ([] if deleted else told)

    def teardown(self) -> None:
        try:
            self.run(self._finish())
        finally:
            self.run(self._close())
            self.runner.close()

    async def _finish(self) -> None:
        if not hasattr(self, "log"):
            return
        log = await entries(self.redis)
        cursor = log[0].id if log else START
        for entry in log[1:]:
            assert follows(cursor, entry.id, entry.prev), f"{entry.id} does not follow {cursor}"
            cursor = entry.id
        if log and not self.trims and log[0].type != "session_deleted":
            assert follows(START, log[0].id, log[0].prev)
            if not any(entry.type == "log_lost" for entry in log) and not self.rolled_back:
                check_tasks(log, ended=False)
        for client in self.clients:
            for _ in range(3):  # a page ends at a gap; there may be one of a rollback, then one of a trim
                await client.read(self.redis, 10_000)
            check_recorded(client, log)

    async def _close(self) -> None:
        for _, publisher in self.attempts:
            await publisher.abandon()
        await self.redis.config_set("maxmemory", 0)
        await self.redis.flushdb()
        await self.redis.aclose()

    # --- how -------------------------------------------------------------------------------------------------------

    async def _expect(self, coroutine: Coroutine[Any, Any, object], *refusals: type[AppendRefused]) -> None:
        try:
            await coroutine
        except AppendRefused as refused:
            if refusals and not isinstance(refused, refusals):
                raise

    async def _messages(self) -> list[bytes]:
        return list(await self.redis.lrange(KEYS.messages, 0, -1))

    async def _queue(self) -> list[str]:
        return [raw.decode() for raw in await self.redis.lrange(KEYS.queue, 0, -1)]

    async def _control(self, task_id: str, event: Any, legal: list[str]) -> None:
        batch = [Envelope("s1", task_id).encode(event)]
        await self.log.append_control(KEYS, secrets.token_hex(8), batch, task_id=task_id, legal=legal)

    async def _interrupt(self) -> None:
        before = await self._queue()
        task_id = await submit(self.log, writes=[Write("interrupt", "", json.dumps({"by": "test"}))])
        assert await self._queue() == [*before[:1], task_id, *before[1:]]
        if before:
            assert await self.redis.hexists(KEYS.control(before[0]), "cancel")

    async def _claim(self) -> None:
        queue = await self._queue()
        if not queue or await self.redis.hget(KEYS.task(queue[0]), "state") != b"queued":
            return
        if await self.redis.exists(KEYS.lease) or len(self.attempts) >= 4:
            return
        attempt = await claim(self.redis)
        publisher = Publisher(self.log, attempt.hold, attempt.envelope, self.limits)
        await publisher.__aenter__()
        self.attempts.append((attempt, publisher))
        await self._hand_over(len(self.attempts) - 1, [attempt.started()], publisher)

    async def _take_over(self) -> None:
        queue = await self._queue()
        if queue:
            await self._expect(self._control(queue[0], TaskRequeued(reason="crash"), legal=["running"]))
            await self.redis.delete(KEYS.lease)
            await self._claim()

    async def _publish(self, index: int, count: int, lost: bool) -> None:
        attempt, publisher = self.attempts[index]
        batch = []
        for _ in range(count):
            self.marks += 1
            batch.append(attempt.output(f"<{self.marks}>"))
        self.log.lost = int(lost)
        await self._hand_over(index, batch, publisher)
        self.log.lost = 0

    async def _hand_over(self, index: int, batch: list[Encoded], publisher: Publisher) -> None:
        """Publish and wait. Acknowledged means: in the log, once, and by nobody but the holder."""
        attempt = self.attempts[index][0]
        holder = await self.redis.hget(KEYS.task(attempt.task_id), "fence")
        try:
            for event in batch:
                await publisher.publish(event, [Write("message", "", event.payload)])
            await asyncio.wait_for(publisher.acknowledged(), 10)
        except ENDS:
            return
        if index not in self.rolled_back:
            assert holder == attempt.hold.fence.encode(), "an attempt wrote without the hold"
        log = [entry.payload for entry in await entries(self.redis)]
        told = [entry.payload for entry in await entries(self.redis) if entry.type == "log_lost"]
        assert len(told) == len({payload.partition(b'"from"')[2] for payload in told}), "the same loss was told twice"
        for event in batch:
            assert log.count(event.payload) <= 1, "an event was written twice"
            assert self.trims or event.payload in log, "an acknowledged event is not in the log"

    async def _dump(self) -> dict[bytes, bytes]:
        return {key: await self.redis.dump(key) for key in await self.redis.keys("*") if key != KEYS.lease.encode()}

    async def _roll_back(self) -> None:
        assert self.copy is not None
        for entry in await entries(self.redis):
            self.content.setdefault(entry.id, entry.payload)
        newest = (await LogReader(self.redis).tails([KEYS]))[0].id.epoch
        pipe = self.redis.pipeline()
        pipe.flushdb()
        for key, value in self.copy.items():
            pipe.restore(key, 0, value, replace=True)
        await pipe.execute()
        self.rolled_back.update(range(len(self.attempts)))
        while True:  # a restore takes longer than epochs run ahead of the clock: some milliseconds here
            seconds, micros = await self.redis.time()
            if seconds * 1000 + micros // 1000 > newest:
                return

    async def _fill(self, count: int) -> None:
        attempt, publisher = self.attempts[-1]
        before = await entries(self.redis)
        state = await self.redis.hget(KEYS.task(attempt.task_id), "state")
        if state is None or state.decode() not in LIVE or publisher.failed.is_set():
            return
        await self.redis.config_set("maxmemory", 1)
        batch = []
        for _ in range(count):
            self.marks += 1
            batch.append(attempt.output(f"<{self.marks}>"))
        try:
            for event in batch:
                await publisher.publish(event, [Write("message", "", event.payload)])
            await asyncio.sleep(0.005)
            assert await entries(self.redis) == before, "a full store took events"
        except ENDS:
            return
        finally:
            await self.redis.config_set("maxmemory", 0)
        await self._hand_over(len(self.attempts) - 1, [], publisher)
