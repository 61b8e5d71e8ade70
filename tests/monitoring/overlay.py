"""The alerts with their times shortened, so that each can be seen to fire in seconds. What they ask stays."""

import re
from typing import Any

import yaml

from tests.monitoring.known import PROMETHEUS

SCRAPE_S = 1
RANGE_S = 10
FOR_S = 2
LOWER = {
    "RuncastProcessRestarting": ("> 2", "> 1"),
    "RuncastQueueOld": ("> 60", "> 3"),
    "RuncastCanarySilent": ("> 60", "> 6"),
    "RuncastLeasesLost": ("> 3", "> 0"),
    "RuncastCostHigh": ("> 50", "> 0.0001"),
}
"""Bounds that would take minutes or money to reach."""


def as_they_are() -> dict[str, list[dict[str, Any]]]:
    """All rules, in one file."""
    paths = sorted((PROMETHEUS / "rules").glob("*.yml"))
    return {"groups": [group for path in paths for group in yaml.safe_load(path.read_text())["groups"]]}


def shortened() -> dict[str, list[dict[str, Any]]]:
    groups = as_they_are()["groups"]
    return {"groups": [group | {"rules": [_shortened(rule) for rule in group["rules"]]} for group in groups]}


def _shortened(rule: dict[str, object]) -> dict[str, object]:
    expr = re.sub(r"\[\d+[smh]\]", f"[{RANGE_S}s]", str(rule["expr"]))
    usual, lower = LOWER.get(str(rule["alert"]), ("", ""))
    assert usual in expr, rule["alert"]
    return (
        rule | {"expr": expr.replace(usual, lower) if usual else expr} | ({"for": f"{FOR_S}s"} if "for" in rule else {})
    )
