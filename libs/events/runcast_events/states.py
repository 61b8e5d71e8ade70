"""The state table: which event is legal in which state of its task, and the state after it.

The data is `states.json`; the append script gets it rendered as Lua, tests and other languages read the JSON.
The state `""` means that there is no task (yet). Source: docs/protocol.md, section 3.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

LIVE = frozenset({"queued", "running", "paused", "waiting_approval"})
TERMINAL = frozenset({"complete", "failed", "cancelled"})
TERMINAL_EVENTS = frozenset({"task_complete", "task_failed", "task_cancelled"})


@dataclass(frozen=True, slots=True)
class Move:
    """What one event does: legal in the states `sources`, afterwards the state is `to` (None: unchanged)."""

    sources: frozenset[str]
    to: str | None


@cache
def moves() -> dict[str, Move]:
    """The whole table by event type; its keys are the closed set of event types."""
    table = json.loads(files("runcast_events").joinpath("states.json").read_text())
    return {name: Move(frozenset(row["from"]), row.get("to")) for name, row in table.items()}


def after(state: str, event_type: str) -> str | None:
    """The state after `event_type` in `state`, or None where that is illegal. `""`: no task."""
    move = moves()[event_type]
    if state not in move.sources:
        return None
    return state if move.to is None else move.to


def as_lua() -> str:
    """The table as a Lua constructor: built by the interpreter in microseconds, where decoding JSON costs tens."""
    rows = []
    for name, move in moves().items():
        sources = ",".join(f"['{state}']=1" for state in sorted(move.sources))
        rows.append(f"{name}={{from={{{sources}}}" + (f",to='{move.to}'" if move.to else "") + "}")
    return "{" + ",\n".join(rows) + "}"
