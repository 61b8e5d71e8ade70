"""The gateway's metrics. No session or task is ever a label."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from time import monotonic, time
from typing import Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from runcast_events.continuity import Reason
from runcast_events.hub import Hub
from runcast_gateway.dialects import ndjson, sse
from runcast_service.metrics import ProcessRegistry, begin_at_zero

REPLAY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)

DIALECTS = (sse.NAME, ndjson.NAME)
REASONS = ("gone", "end", "draining", "send_timeout", "error", "shutdown")
REFUSED = ("process_full", "principal_full")
MANY = 16
"""Clients of a batch from which on it takes the sockets a while to be written to."""


class Streams(Protocol):
    """What is shown of the registry of all streams (connections.py)."""

    draining: bool

    def __len__(self) -> int: ...

    @property
    def live(self) -> int: ...

    def lag_s(self) -> float: ...


class Metrics:
    """One per process, on a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = ProcessRegistry("gateway")
        opened = Counter("runcast_streams_opened", "Streams opened.", ["kind"], registry=registry)
        self.opened = {kind: opened.labels(kind) for kind in ("session", "task")}
        closed = Counter("runcast_streams_closed", "Streams closed, by reason.", ["reason"], registry=registry)
        self.closed = {reason: closed.labels(reason) for reason in REASONS}
        self.refused = Counter("runcast_streams_refused", "Streams refused, by reason.", ["reason"], registry=registry)
        self.replayed = Counter(
            "runcast_events_replayed", "Events sent to clients from the log's past.", registry=registry
        )
        self.replay_seconds = Histogram(
            "runcast_replay_seconds",
            "From when a stream began to read the log's past until it was live.",
            buckets=REPLAY_BUCKETS_S,
            registry=registry,
        )
        self.gaps = Counter("runcast_gaps", "Gaps told to clients, by reason.", ["reason"], registry=registry)
        begin_at_zero(self.gaps, get_args(Reason))
        begin_at_zero(self.refused, REFUSED)
        self.slow = Counter(
            "runcast_streams_slow",
            "Times that a live client's socket was full, and it went back to the log.",
            registry=registry,
        )
        self.commands = Counter(
            "runcast_commands",
            "Commands of WebSocket clients that were forwarded, by the status of their answers.",
            ["type", "status"],
            registry=registry,
        )
        self.live = {dialect: LiveDeliveries() for dialect in DIALECTS}
        registry.register(_LiveCollector(self.live))

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(read)

    def watch_streams(self, streams: Streams, limit: int) -> None:
        """Show what the registry of all streams knows. `limit`: how many there may be."""
        self.gauge("runcast_streams", "Open streams.", lambda: len(streams))
        self.gauge("runcast_streams_live", "Of these, those that have all there is.", lambda: streams.live)
        self.gauge("runcast_streams_limit", "Streams there may be.", lambda: limit)
        self.gauge(
            "runcast_slowest_lag_seconds", "How long the stream that is behind for longest is so.", streams.lag_s
        )
        self.gauge("runcast_draining", "1 while streams are asked to go elsewhere.", lambda: streams.draining)

    def watch(self, hub: Hub) -> None:
        """Show the hub's own counts."""
        self.registry.register(_HubCollector(hub))
        self.gauge("runcast_channels", "Logs this process follows.", lambda: hub.channels)
        self.gauge("runcast_subscriber_connected", "1 while Pub/Sub is connected.", lambda: hub.subscriber.connected)


class AuditMetrics:
    """What the auditor found (audit.py)."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.seen = Counter("runcast_canary_seen", "Canaries that were shown here.", registry=registry)
        self.seconds = Histogram(
            "runcast_canary_seconds",
            "From a canary's append (server time) to its coming out of a stream here.",
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.lost = Counter("runcast_events_lost", "Events of the log that a stream passed over.", registry=registry)
        self.repeated = Counter("runcast_events_repeated", "Events that a stream showed again.", registry=registry)
        self.seen_at = monotonic()
        age = Gauge(
            "runcast_canary_age_seconds",
            "Since a canary was shown here, or since the start: no worker, or nothing gets through.",
            registry=registry,
        )
        age.set_function(lambda: monotonic() - self.seen_at)


class LiveDeliveries:
    """Counts of live deliveries. `note` is called for every batch that goes to clients, so that Counter and Histogram,
    which take a lock for each, would cost more than the rest of a delivery."""

    def __init__(self) -> None:
        self.events = self.bytes = 0
        self.sum_s = 0.0
        self._counts = [0] * (len(BUCKETS_S) + 1)

    def note(self, at_ms: int, events: int, size: int, clients: int) -> None:
        """A batch of `events`, the first of which was appended at `at_ms`, was written to `clients`."""
        self.events += events * clients
        self.bytes += size * clients
        if clients < MANY:
            self._observe(at_ms, clients)
        else:
            # The sockets are written to at the end of this turn of the event loop, which then takes its time. (For a
            # few it does not, and another turn would cost more than the delivery.)
            asyncio.get_running_loop().call_soon(self._observe, at_ms, clients)

    def _observe(self, at_ms: int, clients: int) -> None:
        took_s = max(0.0, time() - at_ms / 1000)
        self._counts[bisect_left(BUCKETS_S, took_s)] += clients
        self.sum_s += took_s * clients

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, by upper bound."""
        return list(zip(_BOUNDS, accumulate(self._counts), strict=True))


_BOUNDS = [*(str(float(bucket)) for bucket in BUCKETS_S), "+Inf"]


class _LiveCollector:
    def __init__(self, live: Mapping[str, LiveDeliveries]) -> None:
        self._live = live

    def collect(self) -> Iterable[Metric]:
        events = CounterMetricFamily("runcast_events_delivered", "Events sent to live clients.", labels=["dialect"])
        sent = CounterMetricFamily("runcast_bytes_delivered", "Bytes of them, before compression.", labels=["dialect"])
        seconds = HistogramMetricFamily(
            "runcast_delivery_seconds",
            "From an event's append (server time) to its hand-over to a live client's socket.",
            labels=["dialect"],
        )
        for dialect, counted in self._live.items():
            events.add_metric([dialect], counted.events)
            sent.add_metric([dialect], counted.bytes)
            seconds.add_metric([dialect], counted.buckets, counted.sum_s)
        yield from (events, sent, seconds)


class _HubCollector:
    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def collect(self) -> Iterable[Metric]:
        stats = self._hub.stats
        publications = CounterMetricFamily("runcast_publications", "Publications received.", labels=["outcome"])
        publications.add_metric(["followed"], stats.followed)
        publications.add_metric(["changed"], stats.changed)
        yield publications
        yield CounterMetricFamily("runcast_repairs", "Repair reads.", stats.repairs)
        yield CounterMetricFamily("runcast_events_repaired", "Events that repair reads brought.", stats.repaired)
        reconnects = max(0, self._hub.subscriber.reconnects)
        yield CounterMetricFamily("runcast_subscriber_reconnects", "Pub/Sub reconnects.", reconnects)
