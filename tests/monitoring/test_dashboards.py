"""The dashboards: what is committed is what their source makes, and they ask for nothing that there is not."""

import json
import re

import pytest

from runcast_dashboards.boards import BOARDS, FOLDER, path_of
from runcast_dashboards.grafana import to_json
from runcast_dashboards.panel import Board, Panel
from tests.monitoring.known import METRICS
from tests.monitoring.lint import faults
from tests.monitoring.promql import fill_in, selectors

UNITS = {"s", "short", "cps", "reqps", "ops", "bytes", "Bps", "percentunit", "currencyUSD"}
PANELS = [pytest.param(board, panel, id=f"{board.uid}: {panel.title}") for board in BOARDS for panel in board.panels]


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_what_is_committed_is_what_the_source_makes(board: Board) -> None:
    """Else run `make dashboards`."""
    assert path_of(board).read_text() == to_json(board)


def test_no_other_file_is_among_them() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {path_of(board).name for board in BOARDS}


@pytest.mark.parametrize(("board", "panel"), PANELS)
def test_a_panel_asks_for_what_there_is(board: Board, panel: Panel) -> None:
    """Metrics, labels and their values; a description and a unit; no rate over a time of its own."""
    variables = {"$__rate_interval", "$__range", *(f"${variable.name}" for variable in board.variables)}
    for query in panel.queries:
        assert set(re.findall(r"\$\w+", query.expr)) <= variables, query.expr
        assert not re.search(r"rate\([^[]*\[\d+[sm]\]", query.expr), "a rate takes [$__rate_interval]"
        assert not faults(fill_in(query.expr)), query.expr
    assert panel.unit in UNITS
    assert panel.description.endswith(".")
    assert len(panel.queries) == 1 or all(query.legend for query in panel.queries)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_rows_fill_the_width(board: Board) -> None:
    """24 columns: what remains would be a hole."""
    for row in board.rows:
        assert sum(panel.width for panel in row.panels) % 24 == 0, row.title


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_query_uses_the_chosen_data_source(board: Board) -> None:
    shown = json.loads(to_json(board))
    sources = [panel["datasource"]["uid"] for panel in shown["panels"] if panel["type"] != "row"]
    assert set(sources) == {"${datasource}"}
    assert [panel["id"] for panel in shown["panels"]] == list(range(1, len(shown["panels"]) + 1))


def test_every_metric_of_ours_is_on_some_board() -> None:
    """One that no board shows is a question that nobody thinks of asking."""
    asked = {
        re.sub(r"_(bucket|sum|count)$", "", name)
        for board in BOARDS
        for panel in board.panels
        for query in panel.queries
        for selector in selectors(fill_in(query.expr))
        for name in selector.names
    }
    ours = {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRICS if name.startswith("runcast_")}
    assert ours - asked == set()


def test_faults_are_found() -> None:
    """One bad expression for each."""
    assert faults("rate(runcast_strems[1m])") == ["no metric runcast_strems"]
    assert faults('runcast_streams{agent="a"}') == ["runcast_streams has no label agent"]
    assert faults('runcast_gaps_total{reason="bored"}') == ["runcast_gaps_total: reason is never bored"]
    assert faults('runcast_gaps_total{reason!~"gone|bored"}') == ["runcast_gaps_total: reason is never bored"]
    assert faults('up{job="apy"}') == ["up: job is never apy"]
    assert faults("sum by (agent) (runcast_streams)") == ["nothing has a label agent to sum by"]
    assert faults("sum(") != []
    assert not faults(
        'sum by (reason, instance) (rate(runcast_gaps_total{reason=~"gone|trimmed", instance=~".*"}[5m]))'
    )
