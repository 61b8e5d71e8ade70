"""Attempts to write with: tasks submitted and claimed as the product does it, without a worker."""

import asyncio
from dataclasses import dataclass

from redis.asyncio import Redis

from runcast_events.codec import Encoded, Envelope
from runcast_events.events import Output, OutputStart, TaskStarted
from runcast_events.ids import DEFAULT_TENANT
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog, Hold
from runcast_tasks.claim import Claims
from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import Queue
from runcast_tasks.submit import NewTask, submit

AT_ONCE = 32
PAYLOAD_BYTES = 250


@dataclass(slots=True)
class Writer:
    """A started attempt. `sequence`: of the last event it appended."""

    hold: Hold
    envelope: Envelope
    sequence: int = 0

    def output(self, text: str) -> Encoded:
        """An `output` event with a payload of PAYLOAD_BYTES, or more where `text` needs it."""
        return self.envelope.encode(Output(part_id="1", delta=text + "x" * (self._room() - len(text)), offset=0))

    def begin(self, worker: str) -> list[Encoded]:
        """What an attempt writes first."""
        events = TaskStarted(worker=worker, workspace="new"), OutputStart(part_id="1")
        return [self.envelope.encode(event) for event in events]

    def _room(self) -> int:
        # The envelope, and what else stands in the payload: its size does not change from event to event.
        return max(0, PAYLOAD_BYTES - 139 - len(self.hold.task_id) - len(self.envelope.session_id))


async def open_writers(redis: Redis, log: EventLog, session_ids: list[str]) -> list[Writer]:
    """A claimed task in each of these new sessions; nothing of the attempts is written yet."""
    keyspace = Keyspace()
    queue, claims = Queue(redis, QueueKeys()), Claims(redis, keyspace, "bench", 60)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(session_id: str) -> Writer:
        async with gate:
            await submit(log, queue, keyspace, DEFAULT_TENANT, NewTask("benchmark", "script", session_id))
            claim = await claims.claim(DEFAULT_TENANT, session_id)
            assert claim is not None
            return Writer(claim.hold, Envelope(session_id, claim.record.id, claim.record.attempt))

    return await asyncio.gather(*map(one, session_ids))
