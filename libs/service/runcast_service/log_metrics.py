"""What a process that writes to event logs measures of it."""

from collections import Counter as Count
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from runcast_events.answer import Appended
from runcast_events.codec import Encoded
from runcast_events.errors import EventsError, Fenced, Gone, Rewound
from runcast_service.metrics import begin_at_zero

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class LogMetrics:
    """An AppendObserver (runcast_events.log)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = Counter(
            "runcast_events_written", "Events that this process has in the logs.", ["type"], registry=registry
        )
        self._bytes = Counter("runcast_log_bytes", "Bytes of their payloads.", registry=registry)
        self._trimmed = Counter(
            "runcast_log_trimmed", "Events that the appends of this process pushed out of full logs.", registry=registry
        )
        self._append_seconds = Histogram(
            "runcast_append_seconds",
            "One call of the append script, there and back; of a promise with the wait for its replicas.",
            buckets=BUCKETS_S,
            registry=registry,
        )
        self._append_events = Histogram(
            "runcast_append_events",
            "Events of one append.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self._checkpoint_seconds = Histogram(
            "runcast_checkpoint_seconds", "Appends that carry a checkpoint.", buckets=BUCKETS_S, registry=registry
        )
        self._fenced = Counter(
            "runcast_appends_fenced", "Appends refused because another attempt has the task.", registry=registry
        )
        self._rewinds = Counter(
            "runcast_log_rewinds",
            "Appends of attempts that found a store which had lost events, or all.",
            registry=registry,
        )
        self._replica_acks = Counter(
            "runcast_replica_acks",
            "Promises that enough replicas have in time (reached), and others (missed).",
            ["outcome"],
            registry=registry,
        )
        begin_at_zero(self._replica_acks, ("reached", "missed"))

    def heard(self, outcome: str) -> None:
        """Of replicas: see Replicas."""
        self._replica_acks.labels(outcome).inc()

    def appended(self, batch: Sequence[Encoded], answer: Appended, seconds: float, *, checkpoint: bool) -> None:
        self._append_seconds.observe(seconds)
        self._append_events.observe(len(batch))
        if checkpoint:
            self._checkpoint_seconds.observe(seconds)
        for kind, count in Count(event.type for event in batch).items():
            self._events.labels(kind).inc(count)
        self._bytes.inc(sum(len(event.payload) for event in batch))
        self._trimmed.inc(answer.trimmed)

    def refused(self, error: EventsError) -> None:
        if isinstance(error, Fenced):
            self._fenced.inc()
        elif isinstance(error, Rewound) or (isinstance(error, Gone) and not error.deleted):
            self._rewinds.inc()
