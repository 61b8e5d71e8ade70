"""What every process measures of itself: what it is, what it takes of its machine, whether its event loop keeps up."""

import asyncio
from collections.abc import Iterable
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

LAG_EVERY_S = 0.1
LAG_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class ProcessRegistry(CollectorRegistry):
    """Of one process: two in one (tests) do not collide. `loop_lag`: see watch_loop."""

    def __init__(self, service: str) -> None:
        super().__init__()
        ProcessCollector(registry=self)
        PlatformCollector(registry=self)
        GCCollector(registry=self)
        build = Gauge("runcast_build_info", "1, with what runs here.", ["service", "version"], registry=self)
        build.labels(service, version("runcast-service")).set(1)
        self.loop_lag = Histogram(
            "runcast_loop_lag_seconds",
            "How much later than asked for the event loop woke a sleeper: what holds up everything in this process.",
            buckets=LAG_BUCKETS_S,
            registry=self,
        )


def begin_at_zero(counter: Counter, values: Iterable[str]) -> None:
    """Show these values of the counter's one label before they are counted. An alert looks for what rises: what comes
    into being with its first count has not risen."""
    for value in values:
        counter.labels(value)


async def watch_loop(lag: Histogram) -> None:
    """Measure how late the event loop is, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_EVERY_S
        await asyncio.sleep(LAG_EVERY_S)
        lag.observe(max(0.0, loop.time() - due))
