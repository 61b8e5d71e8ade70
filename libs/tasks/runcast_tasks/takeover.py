"""What an attempt takes over from those before it, and from the session's earlier tasks."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis

from runcast_events.keys import SessionKeys


@dataclass(frozen=True, slots=True)
class Takeover:
    """`plan`: the session's, as JSON. `checkpoint`: where the task can go on from, as its engine wrote it. `journal`:
    by call id, what the calls of earlier attempts came to: {name, digest, complete: null while it is not known}."""

    plan: str | None = None
    checkpoint: bytes | None = None
    journal: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


async def read_takeover(redis: Redis, keys: SessionKeys, task_id: str) -> Takeover:
    """One atomic read. Raises RedisError, OSError."""
    pipe = redis.pipeline(transaction=True)
    pipe.hget(keys.session, "plan")
    pipe.get(keys.checkpoint(task_id))
    pipe.hgetall(keys.journal(task_id))
    plan, checkpoint, journal = await pipe.execute()
    return Takeover(
        None if plan is None else plan.decode(),
        checkpoint,
        {call_id.decode(): json.loads(entry) for call_id, entry in journal.items()},
    )
