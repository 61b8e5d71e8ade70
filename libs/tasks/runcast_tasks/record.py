"""A task's record and a session's snapshot, read from the events store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from redis.asyncio import Redis

from runcast_events.events import ForkedFrom, Usage
from runcast_events.ids import EventId, session_of
from runcast_events.keys import Keyspace
from runcast_events.script import Script
from runcast_tasks.errors import NotFound, SessionDeleted

SNAPSHOT_LIMIT = 200
"""Messages and tasks a snapshot shows at most, the newest."""
SNAPSHOT_MESSAGE_BYTES = 1024 * 1024
"""Of these messages as many as fit in here, as JSON; the newest is shown whatever its size."""
PROMPT_HEAD_CHARS = 200
"""Of a prompt, kept beside the whole of it: what lists show must not cost reading every long prompt."""

_SUMMARY = ["id", "state", "prompt_head", "agent", "model", "attempt", "created_at", "started_at", "ended_at"]


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """What the store knows of a task. Times are server ms. `outcome`: the terminal event's payload, decoded.
    `crashes`: attempts whose worker vanished, told apart from `attempt`, which every claim counts.
    `traceparent`: of the request that submitted it (W3C trace context).
    `after_id`: the id before the task's first event; `terminal_id`: its last. `usage`: of all its attempts so far;
    `tallied`: the same and their iterations and tool calls, as the append script added them up.
    `answer`: the last output that was completed; `iteration`: the last one that began. `approval`: what it waits for
    somebody to decide about, while it does: {tool_call_id, tool_name, arguments, reason, iteration}."""

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
    usage: Usage
    tallied: Mapping[str, float]
    answer: str
    iteration: int
    approval: dict[str, object] | None
    traceparent: str | None


USAGE = ("input", "output", "cached", "cost_usd", "unpriced")
"""What the append script tallies of models, as `usage_<name>`. `unpriced`: calls whose price is not known."""
TALLIED = "usage_"


def parse_usage(tallied: Mapping[str, str]) -> Usage:
    """From a hash with USAGE's names. The cost is None where there was no call, or one of unknown price."""
    counts = {name: int(float(tallied.get(name, 0))) for name in ("input", "output", "cached")}
    priced = "cost_usd" in tallied and "unpriced" not in tallied
    return Usage(**counts, cost_usd=float(tallied["cost_usd"]) if priced else None)


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
        usage=parse_usage({name: fields[TALLIED + name] for name in USAGE if TALLIED + name in fields}),
        answer=fields.get("answer", ""),
        iteration=int(fields.get("iteration", 0)),
        approval=json.loads(fields["approval"]) if fields["state"] == "waiting_approval" else None,
        traceparent=fields.get("traceparent"),
        tallied={
            name.removeprefix(TALLIED): float(value) for name, value in fields.items() if name.startswith(TALLIED)
        },
    )


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """What a list shows of a task. Times are server ms."""

    id: str
    session_id: str
    state: str
    prompt_head: str
    agent: str
    model: str | None
    attempt: int
    created_at: int
    started_at: int | None
    ended_at: int | None


def _summary(values: Sequence[bytes | None]) -> TaskSummary | None:
    """From the record's _SUMMARY; None where there is no record."""
    fields = {name: value.decode() for name, value in zip(_SUMMARY, values, strict=True) if value is not None}
    if "state" not in fields:
        return None
    return TaskSummary(
        id=fields["id"],
        session_id=session_of(fields["id"]),
        state=fields["state"],
        prompt_head=fields.get("prompt_head", ""),
        agent=fields.get("agent", ""),
        model=fields.get("model") or None,
        attempt=int(fields.get("attempt", 0)),
        created_at=int(fields.get("created_at", 0)),
        started_at=int(fields["started_at"]) if "started_at" in fields else None,
        ended_at=int(fields["ended_at"]) if "ended_at" in fields else None,
    )


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """One atomic read of a session: everything that happened up to and with the event `as_of`. `messages`, oldest
    first: the newest; `messages_left_out`: how many are older than these."""

    id: str
    title: str | None
    created_at: int
    updated_at: int
    as_of: EventId
    messages: list[dict[str, object]]
    messages_left_out: int
    plan: dict[str, object] | None
    todos: list[dict[str, object]]
    forked_from: ForkedFrom | None
    usage: Usage
    tasks: list[TaskSummary]


_Fields = list[bytes | None]
_Reply = tuple[_Fields, _Fields, list[bytes], int, list[_Fields]]
"""Of snapshot.lua."""


class Records:
    """Reads records of one tenant."""

    def __init__(self, redis: Redis, keyspace: Keyspace, tenant: str) -> None:
        self._redis, self._keyspace, self._tenant = redis, keyspace, tenant
        self._snapshot = Script.packaged(redis, "runcast_tasks", "snapshot.lua")

    async def task(self, task_id: str) -> TaskRecord:
        """Raises InvalidId, NotFound."""
        keys = self._keyspace.session(self._tenant, session_of(task_id))
        fields = decode_hash(await self._redis.hgetall(keys.task(task_id)))  # type: ignore[misc]
        if "state" not in fields:
            raise NotFound("task", task_id)
        return parse_record(fields)

    async def summaries(self, task_ids: list[str]) -> list[TaskSummary | None]:
        """In the order asked for; None where the store has no such task. One round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for task_id in task_ids:
            pipe.hmget(self._keyspace.session(self._tenant, session_of(task_id)).task(task_id), _SUMMARY)
        return [_summary(values) for values in await pipe.execute()]

    async def live(self, session_id: str) -> list[str]:
        """Ids of the session's live tasks, the holder first."""
        keys = self._keyspace.session(self._tenant, session_id)
        return [raw.decode() for raw in await self._redis.lrange(keys.queue, 0, -1)]  # type: ignore[misc]

    async def session(self, session_id: str) -> SessionSnapshot:
        """Raises NotFound, SessionDeleted."""
        keys = self._keyspace.session(self._tenant, session_id)
        reply = await self._snapshot(
            keys=[keys.meta, keys.session, keys.messages, keys.tasks],
            args=[SNAPSHOT_LIMIT, SNAPSHOT_MESSAGE_BYTES, *_SUMMARY],
        )
        (epoch, n, deleted, at), shown, messages, left_out, tasks = cast(_Reply, reply)
        title, created_at, plan, todos, forked_from, *usage = shown
        if deleted is not None:
            raise SessionDeleted(session_id)
        if epoch is None or n is None:
            raise NotFound("session", session_id)
        summaries = [_summary(values) for values in tasks]
        return SessionSnapshot(
            id=session_id,
            title=None if title is None else title.decode(),
            created_at=int(created_at or 0),
            updated_at=int(at or 0),
            as_of=EventId(int(epoch), int(n)),
            messages=[json.loads(raw) for raw in reversed(messages)],
            messages_left_out=left_out,
            plan=json.loads(plan) if plan else None,
            todos=json.loads(todos or b"[]"),
            forked_from=ForkedFrom.model_validate_json(forked_from) if forked_from else None,
            usage=parse_usage({name: raw.decode() for name, raw in zip(USAGE, usage, strict=True) if raw is not None}),
            tasks=[summary for summary in summaries if summary is not None],
        )

    async def exists(self, session_ids: list[str]) -> list[bool]:
        """Whether the store still has each of these sessions, undeleted. One round trip."""
        return [fate == "there" for fate in await self.fates(session_ids)]

    async def fates(self, session_ids: list[str]) -> list[Literal["there", "deleted", "unknown"]]:
        """What became of each of these sessions. One round trip."""
        pipe = self._redis.pipeline(transaction=False)
        for session_id in session_ids:
            pipe.hmget(self._keyspace.session(self._tenant, session_id).meta, ["epoch", "deleted"])
        found = await pipe.execute()
        return [
            "deleted" if deleted is not None else "there" if epoch is not None else "unknown"
            for epoch, deleted in found
        ]


def decode_hash(raw: Mapping[bytes, bytes]) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in raw.items()}
