"""The metrics there are, their labels, and the values that labels can have: from the code, not from a list of ours."""

import http
import json
from functools import cache
from pathlib import Path

import yaml

from runcast_api.app import create_app
from runcast_api.settings import ApiSettings
from runcast_events.states import TERMINAL
from runcast_worker.engines.llm import faults
from tests.test_metrics_page import REGISTRIES, families

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOKS = ROOT / "docs" / "runbooks"

TARGET = {"job", "instance"}
"""Labels that Prometheus adds."""
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}
OTHERS = {
    "up": set(),
    "ALERTS": {"alertname", "alertstate", "severity"},
    **{f"process_{name}": set() for name in ("cpu_seconds_total", "resident_memory_bytes", "start_time_seconds")},
    **{f"process_{name}_fds": set() for name in ("open", "max")},
}
"""Prometheus's own and its client's."""
EXPORTER = json.loads((Path(__file__).parent / "redis_exporter.json").read_text())
"""Of prometheus-redis-exporter: metrics with their labels. `make monitoring-test` holds it against the real one."""


def _ours() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for registry in REGISTRIES.values():
        for name, kind, labels, _ in families(registry):
            for suffix in SUFFIXES[kind]:
                found[name + suffix] = {*labels, *(("le",) if suffix == "_bucket" else ())}
    return found


METRICS: dict[str, set[str]] = {**_ours(), **OTHERS, **{name: set(labels) for name, labels in EXPORTER.items()}}
"""Labels by name, as Prometheus shows it; without those that it adds."""


@cache
def shown_at_start() -> dict[tuple[str, str], set[str]]:
    """Values of labels that a process shows before anything has happened."""
    found: dict[tuple[str, str], set[str]] = {}
    for registry in REGISTRIES.values():
        for family in registry.collect():
            for sample in family.samples:
                for label, value in sample.labels.items():
                    found.setdefault((sample.name, label), set()).add(value)
    return found


@cache
def _jobs() -> set[str]:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    return {job["job_name"] for job in config["scrape_configs"]}


@cache
def _routes() -> dict[str, set[str]]:
    paths = create_app(ApiSettings.model_construct()).openapi()["paths"]
    return {"route": set(paths), "method": {method.upper() for path in paths.values() for method in path}}


def possible(metric: str, label: str) -> set[str] | None:
    """Values that a label can have; None: this is not for us to say."""
    if label == "job":
        return _jobs()
    if (shown := shown_at_start().get((metric, label))) is not None:
        return shown
    if metric.startswith("runcast_api_request_seconds"):
        return {str(int(status)) for status in http.HTTPStatus} if label == "status" else _routes()[label]
    if (metric, label) == ("runcast_tasks_ended_total", "outcome"):
        return TERMINAL | {"requeued", "paused", "approval_required", "lost"}
    if metric.startswith("runcast_model_request_seconds") and label == "outcome":
        return {"ok", *(kind[1] for kind in faults._KINDS)}
    if metric in ("runcast_tool_calls_total", "runcast_tool_seconds_count") and label == "outcome":
        return {"ok", "error", "stopped"}
    return None
