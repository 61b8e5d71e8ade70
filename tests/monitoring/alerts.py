"""The alerts as their files have them."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.monitoring.known import PROMETHEUS, RUNBOOKS


@dataclass(frozen=True, slots=True)
class Alert:
    name: str
    expr: str
    severity: str
    annotations: dict[str, str]
    file: Path

    @property
    def runbook(self) -> Path:
        return RUNBOOKS / f"{self.name}.md"


def _read(path: Path) -> list[Alert]:
    rules = [rule for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    return [Alert(rule["alert"], rule["expr"], rule["labels"]["severity"], rule["annotations"], path) for rule in rules]


ALERTS = [alert for path in sorted((PROMETHEUS / "rules").glob("*.yml")) for alert in _read(path)]


def first_commands(runbook: Path) -> list[str]:
    """The lines of the block under `First command`."""
    found = re.search(r"^## First command\n\n```\n(.*?)\n```\n", runbook.read_text(), re.M | re.S)
    return found[1].split("\n") if found else []
