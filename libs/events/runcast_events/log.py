"""The append script's caller: one batch, one round trip, one answer. Retried appends are safe (answer DUP)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from time import monotonic
from typing import Literal, NamedTuple, cast

from redis.asyncio import Redis
from redis.typing import EncodableT

from runcast_events import states
from runcast_events.answer import Appended, read_answer, refusal
from runcast_events.codec import Encoded
from runcast_events.errors import EventsError
from runcast_events.keys import SessionKeys
from runcast_events.observer import AppendObserver, Unobserved
from runcast_events.replicas import Replicas
from runcast_events.script import Script
from runcast_events.states import TERMINAL_EVENTS


@dataclass(frozen=True, slots=True)
class LogLimits:
    """How much of a log is kept, and for how long after its last task ended."""

    max_bytes: int = 32 * 1024 * 1024
    max_entries: int = 100_000
    ttl_s: float = 7 * 24 * 3600
    publication_bytes: int = 32 * 1024


class Write(NamedTuple):
    """Something written in the same atomic step as the batch. `field` names the entry of a hash; else it is empty.
    `settled`: an entry of the journal, by its name, is not needed any more.
    `heard`: a control request, by its name, is done. `tally`: a number that is added to the field `usage_<field>` of
    both the task's record and the session's.
    `interrupt`: the task that is queued goes right behind the session's holder, and the value (JSON) is left for that
    one as a control request `cancel`.
    `unchanged`: nothing is written; the field of the task's record must still have this value, else IllegalMove.
    `unheld`: nothing is written; nobody may have the session's lease, else IllegalMove."""

    kind: Literal[
        "checkpoint",
        "journal",
        "settled",
        "record",
        "session",
        "message",
        "heard",
        "tally",
        "interrupt",
        "unchanged",
        "unheld",
    ]
    field: str
    value: bytes | str


AT_REST = "at_rest"
"""In place of legal states: the session must have no live task, else IllegalMove."""


@dataclass(frozen=True, slots=True)
class Hold:
    """An attempt's hold on a task. `fence` = `<number>:<random>`. `record`: the task's record as it was claimed, from
    which a store that lost it is made whole again. `lease_ms`: how long the hold is believed without renewal."""

    keys: SessionKeys
    task_id: str
    fence: str
    record: Mapping[str, str] = field(repr=False)
    lease_ms: int = 15_000


def append_script() -> str:
    """The text of append.lua with the state table in it."""
    source = files("runcast_events").joinpath("append.lua").read_text()
    return source.replace("--[[state table]]", states.as_lua(), 1)


class EventLog:
    """Appends to the logs of all sessions of one store. `replicas`: who must have what is promised: control operations,
    checkpoints, the ends of tasks. `observer`: is told of every append. `publish`: PUBLISH, or SPUBLISH on a cluster.
    `script`: another append script than the product's, so that tests can seed a wrong one."""

    def __init__(
        self,
        redis: Redis,
        limits: LogLimits | None = None,
        *,
        replicas: Replicas | None = None,
        observer: AppendObserver | None = None,
        publish: str = "PUBLISH",
        script: str | None = None,
    ) -> None:
        self._limits = limits or LogLimits()
        self.replicas = replicas or Replicas(redis)
        self._observer = observer or Unobserved()
        self._publish = publish
        self._append = Script(redis, script or append_script())
        self._reinstall = Script.packaged(redis, "runcast_events", "reinstall.lua")

    async def append(
        self, hold: Hold, first_sequence: int, batch: Sequence[Encoded], writes: Sequence[Iterable[Write]] = ()
    ) -> Appended:
        """Append a batch of an attempt. Its events have the producer sequences `first_sequence`, +1, …, counted per
        fence from 1; what the store knows already of a batch is not written again. `writes`: of each event, its own.

        Raises Gone, Fenced, Rewound, AlreadyTerminal, IllegalMove: then nothing was written.
        """
        head = ("attempt", hold.task_id, hold.fence, first_sequence)
        numbered = [(number, write) for number, each in enumerate(writes, 1) for write in each]
        return await self._run(hold.keys, hold.task_id, "-", head, batch, numbered)

    async def append_control(
        self,
        keys: SessionKeys,
        operation: str,
        batch: Sequence[Encoded],
        writes: Iterable[Write] = (),
        *,
        task_id: str = "",
        legal: Iterable[str] = (),
    ) -> Appended:
        """Append events of a task that nobody runs, or of the session itself (`task_id` empty).

        `operation`: a random id; a retry with the same one is answered as the first. `legal`: the states of the task in
        which the caller wants this; none given means that the state table alone decides. AT_REST alone: only while the
        session has no live task.
        Raises Gone, AlreadyTerminal, IllegalMove: then nothing was written.
        """
        head = ("control", task_id, operation, ",".join(legal))
        return await self._run(keys, task_id, operation, head, batch, [(len(batch), write) for write in writes])

    async def reinstall(
        self,
        hold: Hold,
        known: int,
        found: tuple[str, str],
        *,
        state: str = "",
        record: bool = False,
        checkpoint: bytes | None = None,
        journal: Mapping[str, bytes] | None = None,
    ) -> None:
        """Put the hold back into a store that lost its tail; the store then knows the attempt up to sequence `known`.

        `found`: fence and sequence of the record as the refused append found them; when they are others by now, the
        call was carried out already and nothing is written. `state`: "" leaves the task's state. `record`: the task's
        record is written as well.
        Raises Gone (deleted), Fenced, AlreadyTerminal.
        """
        fields = [x for pair in hold.record.items() for x in pair] if record else []
        args: list[EncodableT] = [hold.task_id, hold.fence, known, state, hold.lease_ms, *found]
        args += [len(fields) // 2, *fields]
        args += ["0", ""] if checkpoint is None else ["1", checkpoint]
        args += [x for pair in (journal or {}).items() for x in pair]
        answer = await self._reinstall(keys=_script_keys(hold.keys, hold.task_id, "-"), args=args)
        if answer[0] != b"OK":
            raise refusal(answer, hold.fence)

    async def _run(
        self,
        keys: SessionKeys,
        task_id: str,
        operation: str,
        head: tuple[EncodableT, ...],
        batch: Sequence[Encoded],
        writes: Sequence[tuple[int, Write]],
    ) -> Appended:
        if not batch:
            raise ValueError("an append needs at least one event")
        limits = self._limits
        args: list[EncodableT] = [*head, self._publish, keys.events]
        args += [limits.max_bytes, limits.max_entries, int(limits.ttl_s * 1000), limits.publication_bytes, len(batch)]
        for event in batch:
            args += (event.type, event.payload)
        for number, write in writes:
            args += (number, *write)
        script_keys, replicated, began = _script_keys(keys, task_id, operation), True, monotonic()
        checkpoint = any(write.kind == "checkpoint" for _, write in writes)
        if checkpoint or _promises(head, batch):
            answer, replicated = await self.replicas.run(self._append, script_keys, args)
        else:
            answer = await self._append(keys=script_keys, args=args)
        try:
            appended = read_answer(cast(list[bytes], answer), str(head[2]))
        except EventsError as error:
            if head[0] == "attempt":  # what others want of a session that has expired is refused as of a lost one
                self._observer.refused(error)
            raise
        # A duplicate is an attempt's own, whose answer was lost; or somebody else told of it already: a reaper, or the
        # first call where replicas are asked again.
        if not appended.duplicate or (head[0] == "attempt" and not self.replicas.count):
            self._observer.appended(_written(batch, appended), appended, monotonic() - began, checkpoint=checkpoint)
        return appended if replicated else replace(appended, replicated=False)


def _written(batch: Sequence[Encoded], answer: Appended) -> Sequence[Encoded]:
    """Without what the log had already: a session_created, or what a rewound store still knew. An append is of one
    epoch."""
    return batch if answer.first is None else batch[-(answer.last.n - answer.first.n + 1) :]


def _promises(head: Sequence[EncodableT], batch: Sequence[Encoded]) -> bool:
    """Whether somebody goes by it who cannot write it again: a caller, or nobody any more. (The next attempt goes by a
    checkpoint.)"""
    return head[0] == "control" or any(event.type in TERMINAL_EVENTS for event in batch)


def _script_keys(keys: SessionKeys, task_id: str, operation: str) -> list[str]:
    task = task_id or "-"
    return [
        *(keys.events, keys.meta, keys.task(task), keys.session, keys.messages, keys.queue, keys.tasks),
        *(keys.checkpoint(task), keys.journal(task), keys.control(task), keys.lease, keys.operation(operation)),
        keys.outputs,
    ]
