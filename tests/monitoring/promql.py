"""What a PromQL expression asks for, and how Grafana's variables are filled in."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import promql_parser as promql

VARIABLES = {"$__rate_interval": "1m", "$__range": "1h", "$instance": ".*", "$agent": ".*"}


@dataclass(frozen=True, slots=True)
class Matcher:
    """`values`: the alternatives, one where it is no expression."""

    label: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Selector:
    """`names`: one, or several of `{__name__=~"a|b"}`."""

    names: tuple[str, ...]
    matchers: tuple[Matcher, ...]


def fill_in(expr: str, **values: str) -> str:
    """As Grafana does: all instances, all agents. `values`: without the dollar."""
    variables = VARIABLES | {f"${name}": value for name, value in values.items()}
    return re.sub(r"\$\w+", lambda found: variables[found[0]], expr)


def nodes(expr: str) -> list[promql.Expr]:
    """All of an expression. Raises ValueError where it is none."""
    found: list[promql.Expr] = []
    promql.walk(promql.parse(expr), found.append)
    return found


def selectors(expr: str) -> Iterator[Selector]:
    for node in nodes(expr):
        if isinstance(node, promql.VectorSelector):
            matchers = tuple(Matcher(each.name, tuple(each.value.split("|"))) for each in node.matchers.matchers)
            names = next((each.values for each in matchers if each.label == "__name__"), (node.name,))
            yield Selector(names, tuple(each for each in matchers if each.label != "__name__"))


def groupings(expr: str) -> Iterator[tuple[str, set[str]]]:
    """Each label that something is summed by, with the metrics in it."""
    for node in nodes(expr):
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            inside = {name for each in selectors(str(node)) for name in each.names}
            for label in node.modifier.labels:
                yield label, inside


def first_rises(expr: str) -> Iterator[Selector]:
    """What fires with the first count: `increase(…) > 0`."""
    for node in nodes(expr):
        if (
            isinstance(node, promql.BinaryExpr)
            and str(node.op) == ">"
            and isinstance(node.rhs, promql.NumberLiteral)
            and node.rhs.val == 0
            and "increase(" in str(node.lhs)
        ):
            yield from selectors(str(node.lhs))
