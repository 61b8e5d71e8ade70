"""Submitting a task: the record and its first events in one control append, then the ring.

Order of writes: hint in `due`, then the append, then indexes and the ring. A crash anywhere leaves something that is
found: a hint without a task, or a task with a hint.
"""

import asyncio
import json
import logging
import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from pydantic import JsonValue
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runcast_events.codec import Envelope
from runcast_events.errors import AlreadyTerminal, Gone, IllegalMove
from runcast_events.events import MessageAdded, SessionCreated, TaskCancelled, TaskQueued
from runcast_events.ids import check_session_id, new_session_id, new_task_id
from runcast_events.keys import Keyspace
from runcast_events.log import AT_REST, EventLog, Write
from runcast_tasks.errors import NotReplicated, SessionBusy, SessionDeleted
from runcast_tasks.queue import Queue, again
from runcast_tasks.record import PROMPT_HEAD_CHARS, Records

logger = logging.getLogger(__name__)

OnBusy = Literal["enqueue", "reject", "interrupt"]

DRAWN = 10
"""Members of an index that each submit looks at: where more than a tenth has expired, more go than come."""
DROP_TIMEOUT_S = 1.0
WITHDRAWN = "too few replicas of the store answered for it"


@dataclass(frozen=True, slots=True)
class NewTask:
    """What somebody wants done. `session_id` None: in a new session. `on_busy`: what if the session has a live task;
    `by`: who wants it, as the end of an interrupted task names them; `traceparent`: the trace it belongs to."""

    prompt: str
    agent: str
    session_id: str | None = None
    model: str | None = None
    params: dict[str, JsonValue] = field(default_factory=dict)
    metadata: dict[str, JsonValue] = field(default_factory=dict)
    on_busy: OnBusy = "enqueue"
    by: str = "anonymous"
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """`interrupted`: the task that was the session's holder, and is asked to end for this one. The caller cancels it at
    once where nobody runs it (`Control.cancel`); if nobody does, it ends when it is claimed or found by the reaper."""

    session_id: str
    task_id: str
    interrupted: str | None = None


def interruption(task_id: str) -> str:
    """The reason that the end of a task gives when `task_id` interrupted it."""
    return f"interrupted by {task_id}"


async def submit(log: EventLog, queue: Queue, keyspace: Keyspace, tenant: str, task: NewTask) -> Receipt:
    """Accept a task. When this returns it is in the log and will run. Raises InvalidId, SessionDeleted, with `on_busy`
    reject SessionBusy (without the ids of the live tasks), and NotReplicated."""
    session_id = new_session_id() if task.session_id is None else check_session_id(task.session_id)
    task_id = new_task_id(session_id)
    envelope = Envelope(session_id, task_id, traceparent=task.traceparent)
    queued = TaskQueued(prompt=task.prompt, agent=task.agent, params=task.params)
    if task.model is not None:
        queued = queued.model_copy(update={"model": task.model})
    batch = [
        Envelope(session_id).encode(SessionCreated()),
        envelope.encode(MessageAdded(role="user", content=task.prompt)),
        envelope.encode(queued),
    ]
    legal = (AT_REST,) if task.on_busy == "reject" else ()
    await queue.expect(tenant, task_id)
    try:
        appended = await log.append_control(
            keyspace.session(tenant, session_id),
            secrets.token_hex(16),
            batch,
            _writes(task, task_id),
            task_id=task_id,
            legal=legal,
        )
    except Gone:
        await queue.forget(tenant, task_id)
        raise SessionDeleted(session_id) from None
    except IllegalMove:
        await queue.forget(tenant, task_id)
        raise SessionBusy(session_id, []) from None
    if not appended.replicated and await _withdraw(log, queue, keyspace, tenant, envelope):
        raise NotReplicated(task_id)
    try:
        await queue.index(tenant, session_id, task_id)
        await queue.ring(tenant, task_id, again(""))
    except (RedisError, OSError) as error:  # it is in the log, so it is accepted: a refusal would have it sent twice
        logger.warning("accepted, to be found by its hint: %s", error, extra={"task_id": task_id})
    return Receipt(session_id, task_id, appended.next_task)


async def _withdraw(log: EventLog, queue: Queue, keyspace: Keyspace, tenant: str, envelope: Envelope) -> bool:
    """Cancel what cannot be promised, before anybody is rung for it: its client will submit it again. False: somebody
    runs it by now, and a worker that runs a task can tell another store of it."""
    session_id, task_id = envelope.session_id, str(envelope.task_id)
    event = envelope.encode(TaskCancelled(by="runcast", reason=WITHDRAWN))
    try:
        cancelled = await log.append_control(
            keyspace.session(tenant, session_id), f"withdraw-{task_id}", [event], task_id=task_id, legal=("queued",)
        )
    except (IllegalMove, AlreadyTerminal):
        return False
    except Gone:
        return True
    try:
        await queue.index(tenant, session_id, task_id)
        await queue.forget(tenant, task_id)
        if cancelled.next_task is not None:
            await queue.ring(tenant, cancelled.next_task)
    except (RedisError, OSError) as error:  # the next one is found by its hint
        logger.warning("a withdrawn task is not forgotten: %s", error, extra={"task_id": task_id})
    return True


async def drop_expired(queue_store: Redis, queue: Queue, records: Records, tenant: str) -> None:
    """Take some of what has expired out of the tenant's indexes: to be called with each submit, so that they stay in
    proportion to what there is although nobody lists. Never raises because of a store.

    The members it looks at are drawn by lot: the oldest ones may be those of a session that lives on and on, and would
    stand before all others for ever.
    """
    keys = queue.keys
    try:
        async with asyncio.timeout(DROP_TIMEOUT_S):
            for index in (keys.sessions(tenant), keys.tasks(tenant)):
                drawn: list[bytes] = await queue_store.zrandmember(index, DRAWN)
                exist = await records.exists([raw.partition(b".")[0].decode(errors="replace") for raw in drawn])
                await queue.drop(index, [raw for raw, there in zip(drawn, exist, strict=True) if not there])
    except (RedisError, OSError) as error:  # TimeoutError is an OSError
        logger.warning("indexes not cleared: %s", str(error) or "timed out")


def message(role: str, content: str, task_id: str) -> Write:
    """A line of the session's conversation, whole: the event that tells of it may be cut."""
    timestamp = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    line = {"role": role, "content": content, "task_id": task_id, "timestamp": timestamp}
    return Write("message", "", json.dumps(line, ensure_ascii=False))


def _writes(task: NewTask, task_id: str) -> list[Write]:
    record = {
        "prompt": task.prompt,
        "prompt_head": task.prompt[:PROMPT_HEAD_CHARS],
        "agent": task.agent,
        "model": task.model or "",
        "params": json.dumps(task.params, ensure_ascii=False),
        "metadata": json.dumps(task.metadata, ensure_ascii=False),
    }
    if task.traceparent is not None:
        record["traceparent"] = task.traceparent
    writes = [*(Write("record", name, value) for name, value in record.items()), message("user", task.prompt, task_id)]
    if task.on_busy == "interrupt":
        request = {"by": task.by, "reason": interruption(task_id)}
        writes.append(Write("interrupt", "", json.dumps(request)))
    return writes
