"""One tiny run of the whole thing."""

from dataclasses import replace
from pathlib import Path

from benchmarks.gateway.bars import LIMITS
from benchmarks.gateway.comparison import SYSTEMS
from benchmarks.gateway.measurements import CPU, KB
from benchmarks.gateway.series import series
from benchmarks.gateway.workloads import NAMES

TINY = replace(NAMES["W3"], sessions=4, clients=8, rate=200, warm_s=0.2, measure_s=0.5)


def test_a_tiny_round_of_ours_is_right(programs: Path) -> None:
    """Store, gateway, append script, load client: every client is shown every event."""
    ((run, outcome),) = series([TINY], [SYSTEMS["ours"]], 1, programs)
    assert run.wrong == ""
    assert outcome["delivered"] == outcome["expected"] == outcome["published"] * 2 > 100
    assert run.figures[CPU] > 0


def test_limits_are_of_workloads_and_systems_that_there_are() -> None:
    """Else a bar would never be judged."""
    for limit in LIMITS:
        workload, system = limit.beside or (limit.workload, "ours")
        assert {limit.workload, workload} <= set(NAMES)
        assert system in SYSTEMS
    assert KB in {limit.figure for limit in LIMITS}
