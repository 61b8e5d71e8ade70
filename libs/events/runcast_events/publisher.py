"""One attempt's writer: batches events, keeps one batch in flight, and makes a store whole again that lost its tail.

A batch is sent at once when the last one is answered and `linger_s` old; while a batch is in flight events gather for
the next. The ring keeps what was acknowledged lately, since a store that is restored or fails over may have lost it.
"""

import asyncio
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic

from redis.exceptions import RedisError

from runcast_events.answer import Appended
from runcast_events.codec import Encoded, Envelope
from runcast_events.errors import EventsError, Gone, PublisherClosed, Rewound
from runcast_events.events import LogLost
from runcast_events.ids import EventId
from runcast_events.log import EventLog, Hold, Write
from runcast_events.redis import passes
from runcast_events.ring import Item, Ring

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PublisherLimits:
    """`linger_s`: least time between two batches of a busy attempt. `batch_*`: the most one batch holds.
    `unacknowledged_bytes`: back-pressure to the producer above it. `ring_*`: what is kept after the acknowledgement."""

    linger_s: float = 0.003
    batch_events: int = 256
    batch_bytes: int = 512 * 1024
    unacknowledged_bytes: int = 2 * 1024 * 1024
    ring_bytes: int = 8 * 1024 * 1024
    ring_s: float = 10.0


class Publisher:
    """Use as an async context manager. After an error that ends the attempt (Fenced, Gone, AlreadyTerminal,
    IllegalMove) every call raises it; `failed` is set then.

    An outage of the store, or a full one, is waited out: the owner ends it, by its lease, with `abandon()`.
    """

    def __init__(self, log: EventLog, hold: Hold, envelope: Envelope, limits: PublisherLimits | None = None) -> None:
        self._log, self.hold, self._envelope = log, hold, envelope
        self._limits = limits or PublisherLimits()
        self._ring = Ring(self._limits.ring_bytes, self._limits.ring_s)
        self._lost_from: int | None = None
        self._checkpoint: bytes | None = None
        self._journal: dict[str, bytes] = {}
        self._wake = asyncio.Event()
        self._progress = asyncio.Condition()
        self._error: BaseException | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self.failed = asyncio.Event()
        self.control = asyncio.Event()
        """Set when the store says that control requests wait for this attempt."""
        self.last: Appended | None = None

    async def __aenter__(self) -> "Publisher":
        self._task = asyncio.create_task(self._run(), name=f"publisher {self.hold.task_id}")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or self._error is not None:
            await self.abandon()
            return
        await self.acknowledged()
        await self.abandon()

    async def publish(self, event: Encoded, writes: Iterable[Write] = ()) -> int:
        """Hand an event over, in order; returns its sequence. Waits while too much is unacknowledged."""
        return await self.publish_together([(event, writes)])

    async def publish_together(self, batch: Sequence[tuple[Encoded, Iterable[Write]]]) -> int:
        """Hand some events over that get into the log in one step, or not at all; returns the last one's sequence."""
        if self._held_up():
            async with self._progress:
                await self._progress.wait_for(lambda: not self._held_up())
        self._check()
        for number, (event, writes) in enumerate(batch, 1):
            self._ring.push(event, tuple(writes), joined=number < len(batch))
        self._wake.set()
        return self._ring.last

    def _held_up(self) -> bool:
        return self._ring.waiting_bytes >= self._limits.unacknowledged_bytes and self._error is None

    async def acknowledged(self, sequence: int | None = None) -> EventId | None:
        """Wait until everything (or everything up to `sequence`) is in the log; returns the last id known then."""
        wanted = self._ring.last if sequence is None else sequence
        async with self._progress:
            await self._progress.wait_for(lambda: self._ring.acknowledged >= wanted or self._error is not None)
        if self._ring.acknowledged < wanted:
            self._check()
        return self.last.last if self.last else None

    async def abandon(self) -> None:
        """Stop at once; what is not acknowledged may or may not be in the log."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._error is None:
            await self._fail(PublisherClosed("the publisher was closed"), quiet=True)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closing:
            raise PublisherClosed("the publisher was closed")

    async def _fail(self, error: BaseException, quiet: bool = False) -> None:
        self._error = error
        if not quiet:
            self.failed.set()
        async with self._progress:
            self._progress.notify_all()

    async def _run(self) -> None:
        """The one loop: gather, append, learn the answer. Ends by an error that ends the attempt, or by abandon()."""
        sent_at = 0.0
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._ring.waiting:
                    await self._linger(sent_at)
                    sent_at = monotonic()
                    # Immutable once sent: a retry must be the same batch.
                    await self._append(self._ring.batch(self._limits.batch_events, self._limits.batch_bytes))
        except EventsError as error:
            await self._fail(error)
        except (RedisError, OSError) as error:
            # Not one of those that pass: the script itself failed, or the store refuses us (ACL, wrong type).
            logger.exception("append failed for good", extra={"task_id": self.hold.task_id})
            await self._fail(error)

    async def _linger(self, sent_at: float) -> None:
        rest = sent_at + self._limits.linger_s - monotonic()
        if rest > 0 and self._ring.waiting < self._limits.batch_events:
            await asyncio.sleep(rest)

    async def _append(self, batch: list[Item]) -> None:
        """Until the batch is in the log, whatever the store goes through meanwhile; and if it is a promise, for a while
        until enough replicas have it: a failover that loses it is still made good from the ring."""
        delay_s = 0.05
        first: Appended | None = None
        patient_until = monotonic() + self._log.replicas.patience_left_s
        while True:
            try:
                answer = await self._send(batch)
            except (RedisError, OSError) as error:
                if not passes(error):
                    raise
                logger.warning("append waits for the store: %s", error, extra={"task_id": self.hold.task_id})
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, 1.0)
            else:
                if answer is None:
                    return
                first = first or answer
                if not answer.replicated and monotonic() < patient_until:
                    continue  # it waited for them
                if not answer.replicated:
                    self._log.replicas.give_up()
                await self._acknowledge(batch, first)
                return

    async def _send(self, batch: list[Item]) -> Appended | None:
        """One try. None: the store had lost its tail, was made whole, and the batch is to be chosen anew."""
        try:
            return await self._log.append(
                self.hold,
                batch[0].sequence,
                [item.event for item in batch],
                [item.writes for item in batch],
            )
        except Rewound as rewound:
            await self._recover(rewound)
        except Gone as gone:
            if gone.deleted:
                raise
            await self._recover(Rewound(0, ("", ""), fence_known=False), record=True)
        return None

    async def _acknowledge(self, batch: list[Item], answer: Appended) -> None:
        self.last = answer
        self._ring.acknowledge(batch, monotonic())
        for item in batch:
            for write in item.writes:
                self._remember(write)
        if answer.control:
            self.control.set()
        async with self._progress:
            self._progress.notify_all()

    def remember(self, checkpoint: bytes | None, journal: Mapping[str, Mapping[str, object]]) -> None:
        """What this attempt goes on from: a store that loses it is given it back."""
        self._checkpoint = checkpoint
        self._journal = {name: json.dumps(entry, ensure_ascii=False).encode() for name, entry in journal.items()}

    def _remember(self, write: Write) -> None:
        value = write.value if isinstance(write.value, bytes) else write.value.encode()
        if write.kind == "checkpoint":
            self._checkpoint = value
        elif write.kind == "journal":
            self._journal[write.field] = value
        elif write.kind == "settled":
            self._journal.pop(write.field, None)

    async def _recover(self, rewound: Rewound, *, record: bool = False) -> None:
        """Put the hold back, and have the ring sent again from where the store knows it. What the ring no longer has is
        said by a `log_lost` in the place of the last lost event. Nothing is changed here before the store has it."""
        lost = self._ring.lost(rewound.known)
        if lost is not None:
            # A reinstall whose reply was lost has moved what the store knows: the loss began where it was first seen.
            self._lost_from = min(self._lost_from or lost[0], lost[0])
        known = rewound.known if lost is None else lost[1] - 1
        logger.warning("the store lost its tail", extra={"task_id": self.hold.task_id, "lost": lost, "known": known})
        unchanged = rewound.fence_known and rewound.known > 0
        state = "queued" if known == 0 and lost is None else "" if unchanged else "running"
        await self._log.reinstall(
            self.hold,
            known,
            rewound.found,
            state=state,
            record=record,
            checkpoint=self._checkpoint,
            journal=self._journal,
        )
        said = None if lost is None else LogLost.model_validate({"from": self._lost_from, "to": lost[1]})
        self._ring.rewind(rewound.known, None if said is None else self._envelope.encode(said))
        self._lost_from = None
        self._wake.set()
