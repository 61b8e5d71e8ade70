"""What is wrong with a PromQL expression, in words: names and labels that there are not."""

import re

from tests.monitoring.known import METRICS, TARGET, possible
from tests.monitoring.promql import Selector, groupings, selectors

JOINED = {"service", "version"}
"""Labels that `group_left` brings from runcast_build_info."""


def faults(expr: str) -> list[str]:
    try:
        asked, grouped = list(selectors(expr)), list(groupings(expr))
    except ValueError as error:
        return [f"no PromQL: {error}"]
    found = [fault for selector in asked for fault in _of_selector(selector)]
    for label, inside in grouped:
        known = TARGET.union(
            JOINED if "runcast_build_info" in inside else (), *(METRICS.get(name, ()) for name in inside)
        )
        if label not in known:
            found.append(f"nothing has a label {label} to sum by")
    return found


def _of_selector(selector: Selector) -> list[str]:
    found = [f"no metric {name}" for name in selector.names if name not in METRICS]
    for name in set(selector.names) & METRICS.keys():
        for matcher in selector.matchers:
            if matcher.label not in METRICS[name] | TARGET:
                # Of several names at once each label has to be one of some of them.
                if len(selector.names) == 1:
                    found.append(f"{name} has no label {matcher.label}")
                continue
            values = possible(name, matcher.label)
            if values is None:
                continue
            found += [
                f"{name}: {matcher.label} is never {value}"
                for value in matcher.values
                if not any(re.fullmatch(value, each) for each in values)
            ]
    return found
