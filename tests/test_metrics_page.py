"""docs/metrics.md has every metric of every process: its name as Prometheus shows it, its kind, its labels."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from runcast_api.metrics import Metrics as ApiMetrics
from runcast_events.hub import Hub, HubStats
from runcast_gateway.metrics import AuditMetrics, Streams
from runcast_gateway.metrics import Metrics as GatewayMetrics
from runcast_worker.metrics import Metrics as WorkerMetrics

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
IDS = {"session", "task", "tenant", "user", "session_id", "task_id", "client", "principal", "worker", "path"}
"""What would make a series for each: never a label."""


def gateway_registry() -> CollectorRegistry:
    metrics = GatewayMetrics()
    hub = SimpleNamespace(stats=HubStats(), channels=0, subscriber=SimpleNamespace(connected=True, reconnects=0))
    metrics.watch(cast(Hub, hub))
    metrics.watch_streams(cast(Streams, _NoStreams()), 1)
    AuditMetrics(metrics.registry)
    return metrics.registry


class _NoStreams:
    draining, live = False, 0

    def __len__(self) -> int:
        return 0

    def lag_s(self) -> float:
        return 0.0


REGISTRIES = {"api": ApiMetrics().registry, "worker": WorkerMetrics().registry, "gateway": gateway_registry()}


def families(registry: CollectorRegistry) -> Iterable[tuple[str, str, tuple[str, ...], str]]:
    """Name, kind, labels, meaning of each metric that is ours."""
    for collector in cast(Any, registry)._collector_to_names:
        for family in collector.collect():
            if not family.name.startswith("runcast_"):
                continue
            if isinstance(collector, MetricWrapperBase):
                labels = tuple(cast(Any, collector)._labelnames)
            else:
                labels = tuple(sorted({name for sample in family.samples for name in sample.labels} - {"le"}))
            name = f"{family.name}_total" if family.type == "counter" else family.name
            yield name, family.type, labels, family.documentation


def metrics_table() -> list[str]:
    """The rows of docs/metrics.md."""
    rows: dict[tuple[str, str, tuple[str, ...], str], list[str]] = {}
    for process, registry in REGISTRIES.items():
        for row in families(registry):
            rows.setdefault(row, []).append(process)
    return [
        f"| `{name}` | {kind} | {', '.join(f'`{label}`' for label in labels)} | {', '.join(processes)} | {meaning} |"
        for (name, kind, labels, meaning), processes in sorted(rows.items())
    ]


def test_the_page_has_every_metric() -> None:
    written = [line for line in PAGE.read_text().splitlines() if line.startswith("| `runcast_")]
    assert written == metrics_table()


def test_no_label_is_a_name_that_somebody_sends() -> None:
    for registry in REGISTRIES.values():
        for name, _, labels, _ in families(registry):
            assert not set(labels) & IDS, name
