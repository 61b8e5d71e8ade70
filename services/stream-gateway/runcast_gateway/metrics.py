"""The gateway's metrics. No session or task is ever a label."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, Metric

from runcast_events.hub import Hub


class Metrics:
    """One per process, on a registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.opened = Counter("runcast_streams_opened", "Streams opened.", ["kind"], registry=registry)
        self.closed = Counter("runcast_streams_closed", "Streams closed, by reason.", ["reason"], registry=registry)
        self.delivered = Counter("runcast_events_delivered", "Events sent to clients.", registry=registry)
        self.replayed = Counter("runcast_events_replayed", "Of these, sent from the log's past.", registry=registry)
        self.gaps = Counter("runcast_gaps", "Gaps told to clients, by reason.", ["reason"], registry=registry)
        self.delivery_seconds = Histogram(
            "runcast_delivery_seconds",
            "From an event's append (server time) to its hand-over to a live client's socket.",
            buckets=(0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
            registry=registry,
        )

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        Gauge(name, text, registry=self.registry).set_function(read)

    def watch(self, hub: Hub) -> None:
        """Show the hub's own counts."""
        self.registry.register(_HubCollector(hub))
        self.gauge("runcast_channels", "Logs this process follows.", lambda: hub.channels)
        self.gauge("runcast_subscriber_connected", "1 while Pub/Sub is connected.", lambda: hub.subscriber.connected)


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
