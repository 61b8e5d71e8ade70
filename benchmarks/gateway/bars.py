"""What the gateway has to reach, as data, and what it reached."""

from dataclasses import dataclass

from benchmarks.figures import Bar
from benchmarks.gateway.measurements import CONNECTS, CORES, CPU, FIRST, KB, P99, REPLAYED
from benchmarks.gateway.results import Results

OURS = "ours"


@dataclass(frozen=True, slots=True)
class Limit:
    """Of a figure of ours: at most `most`, at least `least`; `wanted` is what would be good.

    `beside`: the (workload, system) by whose figure of the same round it is divided.
    """

    workload: str
    figure: str
    most: float = float("inf")
    least: float = float("-inf")
    wanted: float | None = None
    beside: tuple[str, str] | None = None


LIMITS = (
    Limit("W1", CPU, most=0.95, wanted=0.80, beside=("W1", "nchan")),
    Limit("W2", CPU, most=0.75, wanted=0.60, beside=("W2", "nchan")),
    Limit("W3", CPU, most=0.90, wanted=0.80, beside=("W3", "nchan")),
    Limit("W4", CPU, most=0.70, wanted=0.60, beside=("W4", "nchan")),
    Limit("W1", CPU, most=1.03, beside=("W1", "unobserved")),
    Limit("W2", CPU, most=1.03, beside=("W2", "unobserved")),
    Limit("FULL", CORES, most=1.0),
    Limit("FULL", P99, most=15.0),
    Limit("SESSIONS10k", CPU, most=1.2, beside=("SESSIONS1k", OURS)),
    Limit("FLEET4", CPU, most=1.2, beside=("FLEET1", OURS)),
    Limit("IDLE5k", KB, most=3.0),
    Limit("CONNECT", CONNECTS, least=8000),
    Limit("REPLAY1", REPLAYED, least=800_000),
    Limit("REPLAY1", FIRST, most=3.0),
)


def judged(limit: Limit, results: Results) -> Bar | None:
    """None where it was not measured."""
    if limit.beside:
        value = results.ratio((limit.workload, OURS), limit.beside, limit.figure)
    else:
        value = results.median((limit.workload, OURS), limit.figure)
    if value is None:
        return None
    return Bar(f"{_text(limit, value)}", limit.least <= value <= limit.most)


def _text(limit: Limit, value: float) -> str:
    bound = f"<= {limit.most:,g}" if limit.most < float("inf") else f">= {limit.least:,g}"
    wanted = "" if limit.wanted is None else f" (wanted: {limit.wanted:g})"
    if limit.beside is None:
        return f"{limit.workload}: {value:,.4g} {limit.figure} {bound}{wanted}"
    workload, system = limit.beside
    whose = system if workload == limit.workload else f"{system} in {workload}"
    return f"{limit.workload}: {limit.figure} {value:.2f} x that of {whose} {bound}{wanted}"
