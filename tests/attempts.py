"""What log tests share: submit a task by a control append, claim it, and write as its attempt."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from redis.asyncio import Redis

from runcast_events.answer import Appended
from runcast_events.codec import Encoded, Envelope
from runcast_events.entry import Entry
from runcast_events.events import MessageAdded, Output, SessionCreated, TaskComplete, TaskQueued, TaskStarted, Usage
from runcast_events.ids import START, new_task_id
from runcast_events.keys import Keyspace, SessionKeys
from runcast_events.log import EventLog, Hold, Write
from runcast_events.reader import LogReader
from runcast_tasks.claim import Claims

TENANT = "default"


@dataclass
class Attempt:
    """One hold, and the envelope it writes with."""

    hold: Hold
    envelope: Envelope
    sequence: int = 0

    @property
    def task_id(self) -> str:
        return self.hold.task_id

    def started(self) -> Encoded:
        return self.envelope.encode(TaskStarted(worker="test", workspace="new"))

    def output(self, text: str) -> Encoded:
        return self.envelope.encode(Output(part_id="1", delta=text, offset=0))

    def complete(self) -> Encoded:
        event = TaskComplete(final_answer="done", total_iterations=1, duration_ms=1, usage=Usage())
        return self.envelope.encode(event)

    async def append(self, log: EventLog, *batch: Encoded) -> Appended:
        """The next events of this attempt, counted."""
        answer = await log.append(self.hold, self.sequence + 1, batch)
        self.sequence += len(batch)
        return answer


def session_keys(session_id: str = "s1") -> SessionKeys:
    return Keyspace().session(TENANT, session_id)


async def submit(
    log: EventLog, session_id: str = "s1", operation: str | None = None, writes: Iterable[Write] = ()
) -> str:
    """A queued task in the session; returns its id."""
    task_id = new_task_id(session_id)
    envelope = Envelope(session_id, task_id)
    batch = [
        Envelope(session_id).encode(SessionCreated()),
        envelope.encode(MessageAdded(role="user", content="hello")),
        envelope.encode(TaskQueued(prompt="hello", agent="demo", params={})),
    ]
    writes = [Write("record", "agent", "demo"), Write("record", "prompt", "hello"), *writes]
    await log.append_control(session_keys(session_id), operation or f"submit-{task_id}", batch, writes, task_id=task_id)
    return task_id


async def claim(redis: Redis, session_id: str = "s1", lease_ttl_s: float = 15) -> Attempt:
    """An attempt at the session's head task; fails where there is nothing to claim."""
    claim = await Claims(redis, Keyspace(), "test", lease_ttl_s).claim(TENANT, session_id)
    assert claim is not None
    return Attempt(claim.hold, Envelope(session_id, claim.record.id, claim.record.attempt))


async def requests(redis: Redis, task_id: str, session_id: str = "s1") -> dict[str, dict[str, object]]:
    """The control requests that wait for a task, by kind."""
    raw = await redis.hgetall(session_keys(session_id).control(task_id))  # type: ignore[misc]
    return {kind.decode(): json.loads(value) for kind, value in raw.items()}


async def entries(redis: Redis, session_id: str = "s1") -> list[Entry]:
    """The whole log."""
    reader, found, cursor = LogReader(redis), [], START
    while page := (await reader.page(session_keys(session_id), cursor, 1000)).entries:
        found += page
        cursor = page[-1].id
    return found
