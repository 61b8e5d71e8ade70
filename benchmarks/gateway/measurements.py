"""The figures of a run, from what the load client counted."""

from collections.abc import Callable, Mapping

from benchmarks.gateway.client import Outcome
from benchmarks.gateway.workloads import Workload

CPU = "CPU us/delivery"
P99 = "p99 ms"
CORES = "cores"
KB = "KB/connection"
CONNECTS = "connects/s"
REPLAYED = "events/s"
FIRST = "first event ms"


def figures(workload: Workload, outcome: Outcome) -> dict[str, float]:
    """Name with its unit, and value. Those of workloads of one mode are the same."""
    return _BY_MODE[workload.mode](outcome)


def _live(outcome: Outcome) -> dict[str, float]:
    window_s, took = outcome["window_s"], outcome["took_ms"]
    return {
        "deliveries/s": outcome["arrived"] / window_s,
        "p50 ms": took["p50"],
        P99: took["p99"],
        "p99.9 ms": took["p999"],
        CPU: outcome["gateway_cpu_s"] / outcome["arrived"] * 1e6,
        CORES: outcome["gateway_cpu_s"] / window_s,
        "store cores": outcome["store_cpu_s"] / window_s,
        "load cores": outcome["load_cpu_s"] / window_s,
    }


def _idle(outcome: Outcome) -> dict[str, float]:
    return {
        KB: (outcome["rss_after_kb"] - outcome["rss_before_kb"]) / outcome["clients"],
        CONNECTS: outcome["clients"] / outcome["entered_s"],
        "CPU us/connect": outcome["gateway_cpu_s"] / outcome["clients"] * 1e6,
        "connect p99 ms": outcome["opened_ms"]["p99"],
        "idle, % of a core": outcome["idle_share"] * 100,
    }


def _replay(outcome: Outcome) -> dict[str, float]:
    return {
        REPLAYED: outcome["delivered"] / outcome["received_s"],
        FIRST: outcome["first_event_ms"]["p50"],
        "of the last client": outcome["first_event_ms"]["max"],
        "CPU us/event": outcome["gateway_cpu_s"] / outcome["delivered"] * 1e6,
    }


def _storm(outcome: Outcome) -> dict[str, float]:
    calm, storm = outcome["took_ms"], outcome["took_in_storm_ms"]
    return {
        "calm p99 ms": calm["p99"],
        "storm p50 ms": storm["p50"],
        "storm p99 ms": storm["p99"],
        "storm max ms": storm["max"],
        "all back s": outcome["back_s"],
        CORES: outcome["gateway_cpu_s"] / outcome["window_s"],
    }


_BY_MODE: Mapping[str, Callable[[Outcome], dict[str, float]]] = {
    "live": _live,
    "idle": _idle,
    "replay": _replay,
    "storm": _storm,
}
