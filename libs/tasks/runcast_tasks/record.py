"""A task's record and a session's snapshot, read from the events store."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import cast

from redis.asyncio import Redis

from runcast_events.ids import EventId, session_of
from runcast_events.keys import Keyspace
from runcast_tasks.errors import NotFound, SessionDeleted

SNAPSHOT_LIMIT = 200
"""Messages and tasks a snapshot shows at most, the newest."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What the store knows of a task. Times are server ms. `outcome`: the terminal event's payload, decoded.
    `crashes`: attempts whose worker vanished, told apart from `attempt`, which every claim counts.
    `after_id`: the id before the task's first event; `terminal_id`: its last."""

    id: str
    session_id: str
    state: str
    prompt: str
    agent: str
    model: str | None
    params: dict[str, object]
    metadata: dict[str, object]
    attempt: int
    crashes: int
    fence: str
    created_at: int
    started_at: int | None
    ended_at: int | None
    after_id: EventId
    terminal_id: EventId | None
    outcome: dict[str, object] | None


def parse_record(fields: Mapping[str, str]) -> TaskRecord:
    """From the record's hash. Raises KeyError where a field that the append script always writes is missing."""

    def number(name: str) -> int | None:
        return int(fields[name]) if name in fields else None

    task_id = fields["id"]
    return TaskRecord(
        id=task_id,
        session_id=session_of(task_id),
        state=fields["state"],
        prompt=fields.get("prompt", ""),
        agent=fields.get("agent", ""),
        model=fields.get("model") or None,
        params=json.loads(fields.get("params", "{}")),
        metadata=json.loads(fields.get("metadata", "{}")),
        attempt=int(fields.get("attempt", 0)),
        crashes=int(fields.get("crashes", 0)),
        fence=fields.get("fence", ""),
        created_at=int(fields.get("created_at", 0)),
        started_at=number("started_at"),
        ended_at=number("ended_at"),
        after_id=EventId.parse(fields.get("after_id", "0-0")),
        terminal_id=EventId.parse(fields["terminal_id"]) if "terminal_id" in fields else None,
        outcome=json.loads(fields["outcome"]) if "outcome" in fields else None,
    )


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """One atomic read of a session: everything that happened up to and with the event `as_of`."""

    id: str
    title: str | None
    created_at: int
    updated_at: int
    as_of: EventId
    messages: list[dict[str, object]]
    todos: list[dict[str, object]]
    tasks: list[TaskRecord]


class Records:
    """Reads records of one tenant."""

    def __init__(self, redis: Redis, keyspace: Keyspace, tenant: str) -> None:
        self._redis, self._keyspace, self._tenant = redis, keyspace, tenant
        self._snapshot = redis.register_script(files("runcast_tasks").joinpath("snapshot.lua").read_text())

    async def task(self, task_id: str) -> TaskRecord:
        """Raises InvalidId, NotFound."""
        keys = self._keyspace.session(self._tenant, session_of(task_id))
        fields = decode_hash(await self._redis.hgetall(keys.task(task_id)))  # type: ignore[misc]
        if "state" not in fields:
            raise NotFound("task", task_id)
        return parse_record(fields)

    async def tasks(self, task_ids: list[str]) -> list[TaskRecord | None]:
        """In the order asked for; None where the store has no such task. One round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for task_id in task_ids:
            pipe.hgetall(self._keyspace.session(self._tenant, session_of(task_id)).task(task_id))
        replies = [decode_hash(reply) for reply in await pipe.execute()]
        return [parse_record(fields) if "state" in fields else None for fields in replies]

    async def live(self, session_id: str) -> list[str]:
        """Ids of the session's live tasks, the holder first."""
        keys = self._keyspace.session(self._tenant, session_id)
        return [raw.decode() for raw in await self._redis.lrange(keys.queue, 0, -1)]  # type: ignore[misc]

    async def session(self, session_id: str) -> SessionSnapshot:
        """Raises NotFound, SessionDeleted."""
        keys = self._keyspace.session(self._tenant, session_id)
        reply = await self._snapshot(keys=[keys.meta, keys.session, keys.messages, keys.tasks], args=[SNAPSHOT_LIMIT])
        epoch, n, deleted, at, session, messages, tasks = cast(list[object], reply)
        if deleted:
            raise SessionDeleted(session_id)
        if not epoch or not isinstance(epoch, bytes) or not isinstance(n, bytes):
            raise NotFound("session", session_id)
        fields = _pairs(cast(list[bytes], session))
        return SessionSnapshot(
            id=session_id,
            title=fields.get("title"),
            created_at=int(fields.get("created_at", 0)),
            updated_at=int(cast(bytes, at)),
            as_of=EventId(int(epoch), int(n)),
            messages=[json.loads(raw) for raw in cast(list[bytes], messages)],
            todos=json.loads(fields.get("todos", "[]")),
            tasks=[parse_record(_pairs(pairs)) for pairs in cast(list[list[bytes]], tasks) if pairs],
        )

    async def exists(self, session_ids: list[str]) -> list[bool]:
        """Whether the store still has each of these sessions, undeleted. One round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for session_id in session_ids:
            pipe.hmget(self._keyspace.session(self._tenant, session_id).meta, ["epoch", "deleted"])
        return [epoch is not None and deleted is None for epoch, deleted in await pipe.execute()]


def decode_hash(raw: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in raw.items()}


def _pairs(raw: list[bytes]) -> dict[str, str]:
    return {k.decode(): v.decode() for k, v in zip(raw[::2], raw[1::2], strict=True)}
