"""What a dashboard consists of, without a word of Grafana's."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL, with Grafana's variables in it, and the name of what it finds: `{{label}}` is the label's value."""

    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """`unit`: Grafana's id of it (s, bytes, percentunit, short, cps, currencyUSD …). `warn`, `bad`: from which value on
    it is coloured so. `width`: of 24. Every panel shows something while the system is well: where nothing is good news,
    its query says zero (queries.or_zero)."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Literal["graph", "stat"] = "graph"
    width: int = 8
    warn: float | None = None
    bad: float | None = None
    log: bool = False
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A list to choose from: the values that `label` has in `metric`."""

    name: str
    metric: str
    label: str


@dataclass(frozen=True, slots=True)
class Board:
    """`uid` is part of its address and of alerts' links: it stays."""

    uid: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row.panels]


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 8,
    bad: float | None = None,
    log: bool = False,
    stacked: bool = False,
) -> Panel:
    return Panel(title, description, unit, queries, "graph", width, bad=bad, log=log, stacked=stacked)


def stat(
    title: str,
    description: str,
    unit: str,
    query: Query,
    warn: float | None = None,
    bad: float | None = None,
    width: int = 4,
) -> Panel:
    return Panel(title, description, unit, (query,), "stat", width, warn, bad)
