"""A real Prometheus over a real stack: no query of any panel is empty, and the exporter shows what is asked of it."""

import os
import shutil
import time
from pathlib import Path

import pytest

from runcast_dashboards.boards import BOARDS
from tests.monitoring.deployment import Deployment
from tests.monitoring.known import EXPORTER
from tests.monitoring.overlay import SCRAPE_S, as_they_are
from tests.monitoring.pictures import draw
from tests.monitoring.promql import fill_in
from tests.monitoring.traffic import Traffic

PROGRAMS = ("prometheus", "promtool", "prometheus-redis-exporter")
pytestmark = [
    pytest.mark.monitoring,
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)), reason=f"needs {', '.join(PROGRAMS)}: on Debian they are packages"
    ),
]
TRAFFIC_S = float(os.environ.get("RUNCAST_TRAFFIC_S", "40"))
PICTURES = os.environ.get("RUNCAST_PICTURES")
"""Where to leave the pictures."""
ONLY_WITH_A_REPLICA = {"redis_connected_slave_lag_seconds"}


@pytest.mark.timeout(TRAFFIC_S + 200)
async def test_no_query_of_any_panel_is_empty(tmp_path: Path) -> None:
    """After traffic of all kinds; and pictures are made of the same answers."""
    async with Deployment(tmp_path, rules=as_they_are()) as deployment, Traffic(deployment) as traffic:
        prometheus, begin_s = deployment.prometheus, time.time()
        await traffic.of_all_kinds(TRAFFIC_S)
        end_s = time.time()
        values = {"__rate_interval": f"{5 * SCRAPE_S}s", "__range": f"{end_s - begin_s:.0f}s"}
        empty, answers = [], {}
        for board in BOARDS:
            for panel in board.panels:
                for query in panel.queries:
                    expr = fill_in(query.expr, **values)
                    answers[query] = await prometheus.over(expr, begin_s, end_s, (end_s - begin_s) / 120)
                    if not answers[query]:
                        empty.append(f"{board.title}: {panel.title}: {expr}")
        shown = {each.labels["__name__"] for each in await prometheus.ask('{__name__=~"redis_.+"}')}
        assert EXPORTER.keys() - shown <= ONLY_WITH_A_REPLICA
        assert not empty, "\n".join(empty)
    for board in BOARDS:
        draw(board, answers, Path(PICTURES or tmp_path) / f"{board.uid}.png")
