"""Control: what somebody wants of a task. A task that nobody runs is moved at once by a control append; for a running
one a control request is left, and its attempt writes the events."""

import json
import secrets
from dataclasses import dataclass
from importlib.resources import files

from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.errors import AlreadyTerminal, Gone, IllegalMove
from runcast_events.events import Event, SessionDeleted, TaskCancelled
from runcast_events.ids import session_of
from runcast_events.keys import Keyspace, SessionKeys
from runcast_events.log import EventLog
from runcast_tasks import errors

NOBODY_RUNS = ("queued", "paused", "waiting_approval")


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What a cancel came to. `state`: the task's now. `next_task`: to be rung for. `ended`: it was over before."""

    state: str
    next_task: str | None = None
    ended: bool = False


class Control:
    """Moves tasks and sessions of one tenant from outside an attempt."""

    def __init__(self, redis: Redis, log: EventLog, keyspace: Keyspace, tenant: str) -> None:
        self._log, self._keyspace, self._tenant = log, keyspace, tenant
        self._request = redis.register_script(files("runcast_tasks").joinpath("request.lua").read_text())

    async def cancel(self, task_id: str, by: str, reason: str | None = None) -> Cancelled:
        """Cancel at once what nobody runs; ask the attempt otherwise (then `state` is still running). Idempotent.
        Raises InvalidId, NotFound, SessionDeleted."""
        keys = self._keys(task_id)
        event = TaskCancelled(by=by) if reason is None else TaskCancelled(by=by, reason=reason)
        for _ in range(5):  # the task may be claimed or requeued between the two looks
            try:
                appended = await self._append(keys, task_id, event)
                return Cancelled("cancelled", appended)
            except AlreadyTerminal as terminal:
                return Cancelled(terminal.state, ended=True)
            except IllegalMove:
                request = json.dumps({"by": by, "reason": reason})
                state = await self._request(
                    keys=[keys.task(task_id), keys.control(task_id)],
                    args=["cancel", request, self._keyspace.control, f"{self._tenant}/{task_id}"],
                )
                if state == b"running":
                    return Cancelled("running")
                if state == b"none":
                    raise errors.NotFound("task", task_id) from None
        raise errors.TasksError(f"the task {task_id} changes hands too fast to be cancelled; try again")

    async def delete_session(self, session_id: str) -> None:
        """Delete a session at rest: its log ends with `session_deleted`, everything else goes. Idempotent.
        Raises NotFound, SessionBusy."""
        keys = self._keyspace.session(self._tenant, session_id)
        try:
            await self._log.append_control(keys, secrets.token_hex(16), [Envelope(session_id).encode(SessionDeleted())])
        except Gone as gone:
            if not gone.deleted:
                raise errors.NotFound("session", session_id) from None
        except IllegalMove:
            raise errors.SessionBusy(session_id, []) from None

    async def _append(self, keys: SessionKeys, task_id: str, event: Event) -> str | None:
        envelope = Envelope(session_of(task_id), task_id)
        try:
            appended = await self._log.append_control(
                keys, secrets.token_hex(16), [envelope.encode(event)], task_id=task_id, legal=NOBODY_RUNS
            )
        except Gone as gone:
            if gone.deleted:
                raise errors.SessionDeleted(session_of(task_id)) from None
            raise errors.NotFound("task", task_id) from None
        return appended.next_task

    def _keys(self, task_id: str) -> SessionKeys:
        return self._keyspace.session(self._tenant, session_of(task_id))


class Requests:
    """An attempt's view of the control requests that wait for it."""

    def __init__(self, redis: Redis, keys: SessionKeys, task_id: str) -> None:
        self._redis, self._key = redis, keys.control(task_id)

    async def read(self) -> dict[str, dict[str, object]]:
        """All requests by kind."""
        raw = await self._redis.hgetall(self._key)  # type: ignore[misc]
        return {kind.decode(): json.loads(value) for kind, value in raw.items()}
