"""Medians, ratios within a round, bars, and the table."""

import pytest

from benchmarks.gateway.bars import Limit, judged
from benchmarks.gateway.comparison import SYSTEMS, report_of
from benchmarks.gateway.measurements import CPU
from benchmarks.gateway.results import Results, Run
from benchmarks.gateway.workloads import NAMES

OURS, NCHAN = ("W1", "ours"), ("W1", "nchan")


def results(ours: list[float], nchan: list[float], wrong: str = "") -> Results:
    """Rounds of W1; `wrong`: of ours' last one."""
    runs = [Run(NCHAN, number, {CPU: value}) for number, value in enumerate(nchan)]
    runs += [Run(OURS, number, {CPU: value}) for number, value in enumerate(ours)]
    if wrong:
        runs[-1] = Run(OURS, len(ours) - 1, {}, wrong)
    return Results(runs)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """Not the ratio of the medians: the machine changes between rounds, and changes both."""
    found = results([1.0, 8.0, 10.0], [2.0, 4.0, 100.0])
    assert found.ratios(OURS, NCHAN, CPU) == [0.5, 2.0, 0.1]
    assert found.ratio(OURS, NCHAN, CPU) == 0.5
    assert found.median(OURS, CPU) == 8.0


def test_a_wrong_run_has_no_figures() -> None:
    """Whoever loses events is fast."""
    found = results([1.0, 1.0, 0.1], [2.0, 2.0, 2.0], wrong="1 missing")
    assert found.ratios(OURS, NCHAN, CPU) == [0.5, 0.5]
    assert found.median(OURS, CPU) == 1.0
    assert [run.wrong for run in found.wrongs()] == ["1 missing"]


@pytest.mark.parametrize(
    ("limit", "met"),
    [
        (Limit("W1", CPU, most=0.5, beside=NCHAN), True),
        (Limit("W1", CPU, most=0.49, beside=NCHAN), False),
        (Limit("W1", CPU, least=1.0), True),
        (Limit("W1", CPU, least=1.01), False),
    ],
)
def test_a_bar_is_met_at_its_bound(limit: Limit, met: bool) -> None:
    bar = judged(limit, results([1.0], [2.0]))
    assert bar is not None
    assert bar.met is met
    assert not bar.correct


def test_what_was_not_measured_is_not_judged() -> None:
    assert judged(Limit("W2", CPU, most=1), results([1.0], [2.0])) is None
    assert judged(Limit("W1", CPU, most=1, beside=("W2", "nchan")), results([1.0], [2.0])) is None


def test_the_report_has_ratios_and_bars() -> None:
    """One row a system, and ours is right or not."""
    report = report_of(results([1.0, 1.0], [2.0, 2.0]), [NAMES["W1"]], [SYSTEMS["ours"]])
    table = report.table()
    assert "| W1 ours | 0.50 | 1 |" in table
    assert "| W1 nchan | 1 | 2 |" in table
    assert "W1: CPU us/delivery 0.50 x that of nchan <= 0.95 (wanted: 0.8): met" in table
    assert all(bar.met for bar in report.bars if bar.correct)


def test_the_report_fails_when_ours_lost_an_event() -> None:
    """However fast it was, and in however few rounds; a peer's loss is said."""
    report = report_of(results([1.0, 1.0], [2.0, 2.0], wrong="1 missing"), [NAMES["W1"]], [])
    assert [bar.met for bar in report.bars if bar.correct] == [False]
    assert any("W1 ours, round 2: 1 missing" in note for note in report.notes)
    peers = Results([Run(NCHAN, 0, {}, "1 missing")])
    assert not report_of(peers, [NAMES["W1"]], []).bars


def test_who_is_left_out_is_said() -> None:
    report = report_of(Results(), [NAMES["REPLAY1"], NAMES["STORM"]], [SYSTEMS["floor"]])
    assert "floor is left out of REPLAY1, STORM: it keeps no history" in report.notes
