"""Control: what somebody wants of a task. A task that nobody runs is moved at once by a control append; for a running
one a control request is left, and its attempt writes the events."""

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.errors import AlreadyTerminal, Gone, IllegalMove
from runcast_events.events import ApprovalResolved, Event, SessionDeleted, TaskCancelled, TaskPaused, TaskResumed
from runcast_events.ids import session_of
from runcast_events.keys import Keyspace, SessionKeys
from runcast_events.log import EventLog, Write
from runcast_events.script import Script
from runcast_events.states import TERMINAL
from runcast_tasks import errors

INPUTS = 32
"""Control requests that may wait for one task."""
OVERRULED = (Write("heard", "resume", ""),)
"""What somebody else wanted before is no longer to be answered by a resume."""
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
        self._redis, self._log, self._keyspace, self._tenant = redis, log, keyspace, tenant
        self._request = Script.packaged(redis, "runcast_tasks", "request.lua")

    async def cancel(self, task_id: str, by: str, reason: str | None = None) -> Cancelled:
        """Cancel at once what nobody runs; ask the attempt otherwise (then `state` is still running). Idempotent.
        Raises InvalidId, NotFound, SessionDeleted."""
        keys = self._keys(task_id)
        event = TaskCancelled(by=by) if reason is None else TaskCancelled(by=by, reason=reason)
        for _ in range(5):  # the task may be claimed or requeued between the two looks
            try:
                appended = await self._append(keys, task_id, event, NOBODY_RUNS)
                return Cancelled("cancelled", appended)
            except AlreadyTerminal as terminal:
                return Cancelled(terminal.state, ended=True)
            except IllegalMove:
                state = await self._ask(keys, task_id, "cancel", by, reason)
                if state == "running":
                    return Cancelled("running")
        raise errors.TasksError(f"the task {task_id} changes hands too fast to be cancelled; try again")

    async def pause(self, task_id: str, by: str, reason: str | None = None) -> str:
        """Have a task wait until it is resumed; returns its state now. A queued one is paused at once; of a running one
        it is asked (the state is still running), and it pauses between two iterations. Idempotent. Raises InvalidId,
        NotFound, SessionDeleted, AlreadyTerminal, IllegalMove."""
        keys = self._keys(task_id)
        event = TaskPaused(by=by) if reason is None else TaskPaused(by=by, reason=reason)
        for _ in range(5):  # it may be claimed or requeued between the two looks
            try:
                await self._append(keys, task_id, event, ("queued",), OVERRULED)
                return "paused"
            except IllegalMove as illegal:
                if illegal.state == "paused":
                    return "paused"
                if illegal.state != "running":
                    raise
            state = await self._ask(keys, task_id, "pause", by, reason)
            if state == "running":
                return state
        raise errors.TasksError(f"the task {task_id} changes hands too fast to be paused; try again")

    async def resume(self, task_id: str, by: str) -> str:
        """Have a paused task run again; returns its state now: it is to be rung for. Idempotent: one that is queued or
        runs stays so, and whoever asked it to pause is overruled: should its attempt pause all the same, since it was
        about to, it is resumed then. Raises InvalidId, NotFound, SessionDeleted, AlreadyTerminal, IllegalMove."""
        keys = self._keys(task_id)
        for _ in range(5):  # it may pause between the two looks
            try:
                await self._append(keys, task_id, TaskResumed(by=by), ("paused",), OVERRULED)
                return "queued"
            except IllegalMove as illegal:
                if illegal.state not in ("queued", "running"):
                    raise
            state = await self._ask(keys, task_id, "resume", by, None)
            if state in ("queued", "running"):
                return state
        raise errors.TasksError(f"the task {task_id} changes hands too fast to be resumed; try again")

    async def decide(self, task_id: str, approval: ApprovalResolved, reason: str | None = None) -> str:
        """Decide about the call that a task waits for; returns its state now: it is to be rung for. Idempotent.
        Raises InvalidId, NotFound (also of the call), SessionDeleted, AlreadyTerminal, IllegalMove, AlreadyDecided."""
        keys, call_id = self._keys(task_id), approval.tool_call_id
        entry = {**approval.model_dump(exclude_unset=True), "reason": reason}
        for _ in range(5):  # others may decide, and the task may wait for another call, between the look and the append
            state, waiting, decided = await self._approvals(keys, task_id, call_id)
            if not state:
                raise await self._missing(keys, task_id)
            asked = json.loads(waiting or "null")
            is_asked = asked is not None and asked["tool_call_id"] == call_id
            if not is_asked or state != "waiting_approval":
                if decided is not None and _decision(decided) == _decision(entry):
                    return state
                if decided is not None:
                    raise errors.AlreadyDecided(state, call_id, str(decided["decision"]))
                if not is_asked:
                    raise errors.NotFound("call that waits for an approval", f"{task_id} {call_id}")
            decision = Write("journal", f"approval:{call_id}", json.dumps(entry))
            try:
                await self._append(
                    keys, task_id, approval, ("waiting_approval",), [Write("unchanged", "approval", waiting), decision]
                )
                return "queued"
            except IllegalMove:
                if state != "waiting_approval":
                    raise
        raise errors.TasksError(f"the task {task_id} moves too fast to be decided about; try again")

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

    async def _append(
        self, keys: SessionKeys, task_id: str, event: Event, legal: Sequence[str], writes: Sequence[Write] = ()
    ) -> str | None:
        trace: bytes | None = await self._redis.hget(keys.task(task_id), "traceparent")  # type: ignore[misc]
        envelope = Envelope(session_of(task_id), task_id, traceparent=None if trace is None else trace.decode())
        try:
            appended = await self._log.append_control(
                keys, secrets.token_hex(16), [envelope.encode(event)], writes, task_id=task_id, legal=legal
            )
        except Gone as gone:
            if gone.deleted:
                raise errors.SessionDeleted(session_of(task_id)) from None
            raise errors.NotFound("task", task_id) from None
        return appended.next_task

    async def say(self, task_id: str, by: str, text: str, input_id: str = "") -> str:
        """Say something to a live task; returns its state. Its model is told before it is asked the next time; what has
        the same `input_id` is said once. Raises InvalidId, NotFound, SessionDeleted, AlreadyTerminal, TooManyInputs,
        InputExists, Ending."""
        state = await self._ask(self._keys(task_id), task_id, "input", by, text, input_id)
        if state.startswith("said "):
            return state.removeprefix("said ")
        if state == "other":
            raise errors.InputExists(task_id, input_id)
        if state == "full":
            raise errors.TooManyInputs(task_id)
        if state == "ending":
            raise errors.Ending(task_id)
        if state in TERMINAL:
            raise AlreadyTerminal(state)
        return state

    async def _ask(
        self, keys: SessionKeys, task_id: str, kind: str, by: str, reason: str | None, input_id: str = ""
    ) -> str:
        """Leave a control request; returns the task's state: what is only for a running one is only left then."""
        request = json.dumps({"by": by, "reason": reason}, ensure_ascii=False)
        state, _ = await self._log.replicas.run(
            self._request,
            keys=[keys.task(task_id), keys.control(task_id)],
            args=[kind, request, self._keyspace.control, f"{self._tenant}/{task_id}", INPUTS, input_id],
        )
        if state == b"none":
            raise await self._missing(keys, task_id)
        return str(state.decode())

    async def _missing(self, keys: SessionKeys, task_id: str) -> errors.TasksError:
        """Why there is no such task."""
        if await self._redis.hexists(keys.meta, "deleted"):  # type: ignore[misc]
            return errors.SessionDeleted(session_of(task_id))
        return errors.NotFound("task", task_id)

    async def _approvals(
        self, keys: SessionKeys, task_id: str, call_id: str
    ) -> tuple[str, bytes, dict[str, object] | None]:
        """The task's state, the call that it waits or has last waited for, and what was decided about this one."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.hmget(keys.task(task_id), ["state", "approval"])
        pipe.hget(keys.journal(task_id), f"approval:{call_id}")
        (state, asked), decided = await pipe.execute()
        return (state or b"").decode(), asked or b"", json.loads(decided or b"null")

    def _keys(self, task_id: str) -> SessionKeys:
        return self._keyspace.session(self._tenant, session_of(task_id))


def _decision(entry: Mapping[str, object]) -> str:
    """What two decisions about a call have in common when they are the same one, whoever made them and why."""
    return json.dumps([entry["decision"], entry.get("arguments")], sort_keys=True)


class Requests:
    """An attempt's view of the control requests that wait for it."""

    def __init__(self, redis: Redis, keys: SessionKeys, task_id: str) -> None:
        self._redis, self._key = redis, keys.control(task_id)

    async def orders(self) -> dict[str, dict[str, object]]:
        """Those of which there is one of a kind: cancel, pause, resume. What was said waits beside them, maybe long."""
        kinds = ["cancel", "pause", "resume"]
        found = zip(kinds, await self._redis.hmget(self._key, kinds), strict=True)  # type: ignore[misc]
        return {kind: json.loads(value) for kind, value in found if value is not None}
