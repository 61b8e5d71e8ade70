"""The alerts: each asks for what there is, says what to do, and is shown by promtool to fire and not to fire."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from runcast_dashboards.boards import BOARDS
from tests.monitoring.alerts import ALERTS, Alert, first_commands
from tests.monitoring.known import PROMETHEUS, RUNBOOKS, shown_at_start
from tests.monitoring.lint import faults
from tests.monitoring.promql import first_rises

UNIT_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
QUERY = re.compile(r"""promtool query instant "\$PROMETHEUS" '(.+)'""")
promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="no promtool: on Debian, apt-get install prometheus")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_asks_for_what_there_is(alert: Alert) -> None:
    """Metrics, labels and values of labels; and a first count is seen to rise, from a 0 that is shown before."""
    assert not faults(alert.expr)
    shown = shown_at_start()
    for selector in first_rises(alert.expr):
        for matcher in selector.matchers:
            assert set(matcher.values) <= shown[selector.names[0], matcher.label], selector


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_says_what_to_do(alert: Alert) -> None:
    """Severity, summary, description, a runbook of its own name, a dashboard that there is."""
    assert re.fullmatch(r"Runcast([A-Z][a-z]+)+", alert.name)
    assert alert.severity in ("critical", "warning")
    assert alert.annotations.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
    assert not alert.annotations["summary"].endswith(".")
    assert alert.annotations["description"].endswith(".")
    assert alert.annotations["runbook_url"] == f"https://runcast.dev/runbooks/{alert.name}"
    assert alert.annotations["dashboard_url"] in {f"/d/{board.uid}" for board in BOARDS}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_has_its_runbook(alert: Alert) -> None:
    """What it means, the first command, what to do; and the command asks for what there is."""
    text = alert.runbook.read_text()
    assert text.startswith(f"# {alert.name}\n\n`{alert.severity}` · dashboard [")
    assert re.findall(r"^## (.*)", text, re.M) == ["First command", "What to do"]
    commands = first_commands(alert.runbook)
    queries = [found[1] for command in commands if (found := QUERY.fullmatch(command))]
    assert queries
    assert len(queries) == sum(command.startswith("promtool") for command in commands)
    for query in queries:
        assert not faults(query), query


def test_runbooks_and_alerts_are_the_same_ones() -> None:
    """And the index has each with its severity."""
    index = (RUNBOOKS / "README.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \| (\w+) \|", index, re.M)
    assert sorted(rows) == sorted((alert.name, alert.name, alert.severity) for alert in ALERTS)
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {alert.name for alert in ALERTS} | {"README"}
    assert len({alert.name for alert in ALERTS}) == len(ALERTS)


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_has_a_unit_test(alert: Alert) -> None:
    """In the file of its rules' name: one that shows it silent and firing."""
    tests = yaml.safe_load((PROMETHEUS / "tests" / alert.file.name).read_text())["tests"]
    cases = [case for test in tests if test["name"].split()[0] == alert.name for case in test["promql_expr_test"]]
    assert {f'ALERTS{{alertname="{alert.name}", alertstate="firing"}}'} == {case["expr"] for case in cases}
    assert {bool(case["exp_samples"]) for case in cases} == {True, False}


def run_promtool(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=50, check=False)


@promtool
def test_prometheus_reads_its_configuration() -> None:
    assert run_promtool("check", "config", PROMETHEUS / "prometheus.yml").returncode == 0


@promtool
@pytest.mark.parametrize("path", UNIT_TESTS, ids=lambda path: path.stem)
def test_unit_tests_pass(path: Path) -> None:
    done = run_promtool("test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@promtool
@pytest.mark.monitoring
@pytest.mark.parametrize("instead", ["vector(0) > 1", "vector(1)"], ids=["never", "always"])
@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_unit_tests_can_fail(alert: Alert, instead: str, tmp_path: Path) -> None:
    """An alert that never fires, and one that always does."""
    rules = yaml.safe_load(alert.file.read_text())
    for rule in rules["groups"][0]["rules"]:
        if rule["alert"] == alert.name:
            rule["expr"] = instead
    for folder in ("rules", "tests"):
        (tmp_path / folder).mkdir()
    (tmp_path / "rules" / alert.file.name).write_text(yaml.safe_dump(rules))
    shutil.copy(PROMETHEUS / "tests" / alert.file.name, tmp_path / "tests")
    assert run_promtool("test", "rules", tmp_path / "tests" / alert.file.name).returncode != 0
