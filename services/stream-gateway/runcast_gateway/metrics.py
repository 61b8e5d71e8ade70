"""The gateway's metrics. No session or task is ever a label."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import accumulate
from time import time

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from runcast_events.hub import Hub

BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)

REASONS = ("gone", "end", "draining", "send_timeout", "error", "shutdown")
MANY = 16
"""Clients of a batch from which on it takes the sockets a while to be written to."""


class Metrics:
    """One per process, on a registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        opened = Counter("runcast_streams_opened", "Streams opened.", ["kind"], registry=registry)
        self.opened = {kind: opened.labels(kind) for kind in ("session", "task")}
        closed = Counter("runcast_streams_closed", "Streams closed, by reason.", ["reason"], registry=registry)
        self.closed = {reason: closed.labels(reason) for reason in REASONS}
        self.refused = Counter("runcast_streams_refused", "Streams refused, by reason.", ["reason"], registry=registry)
        self.replayed = Counter(
            "runcast_events_replayed", "Events sent to clients from the log's past.", registry=registry
        )
        self.gaps = Counter("runcast_gaps", "Gaps told to clients, by reason.", ["reason"], registry=registry)
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
        self.live = LiveDeliveries()
        registry.register(self.live)

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(read)

    def watch(self, hub: Hub) -> None:
        """Show the hub's own counts."""
        self.registry.register(_HubCollector(hub))
        self.gauge("runcast_channels", "Logs this process follows.", lambda: hub.channels)
        self.gauge("runcast_subscriber_connected", "1 while Pub/Sub is connected.", lambda: hub.subscriber.connected)


class LiveDeliveries:
    """Counts of live deliveries. `note` is called for every batch that goes to clients, so that Counter and Histogram,
    which take a lock for each, would cost more than the rest of a delivery."""

    def __init__(self) -> None:
        self.events = self.bytes = 0
        self._sum_s = 0.0
        self._counts = [0] * (len(BUCKETS_S) + 1)

    def note(self, at_ms: int, events: int, size: int, clients: int) -> None:
        """A batch of `events`, the last of which was appended at `at_ms`, was written to `clients`."""
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
        self._sum_s += took_s * clients

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily("runcast_events_delivered", "Events sent to live clients.", self.events)
        yield CounterMetricFamily("runcast_bytes_delivered", "Bytes of them, before compression.", self.bytes)
        names = [*(str(float(bucket)) for bucket in BUCKETS_S), "+Inf"]
        yield HistogramMetricFamily(
            "runcast_delivery_seconds",
            "From an event's append (server time) to its hand-over to a live client's socket.",
            buckets=list(zip(names, accumulate(self._counts), strict=True)),
            sum_value=self._sum_s,
        )


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
