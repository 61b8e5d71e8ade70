"""What was recorded of a run in which processes were killed: all that the checks of it need, and nothing that lives."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from runcast_events.entry import Entry
from tests.history import Seen


@dataclass(frozen=True, slots=True)
class Loss:
    """A worker was killed, or stopped for longer than its leases last. `worker`: as task_started names it; `at_ms`: by
    the store's clock, just before."""

    worker: str
    at_ms: float


@dataclass(frozen=True, slots=True)
class Lapse:
    """A worker that lives could not renew its lease of a task in time, and said so: it stood still, as on a machine
    that has too much to do."""

    worker: str
    task_id: str


@dataclass(frozen=True, slots=True)
class Request:
    """A model was asked for an iteration of a task, at that time by the store's clock."""

    task_id: str
    iteration: int
    at_ms: float


@dataclass(frozen=True, slots=True)
class History:
    """`logs`: of all sessions, whole. `accepted`: the tasks, in the order in which they were. `effects`: how often a
    call, by (task, call id), has left its trace in the workspace; only calls of the tool shell leave one. `seen`: what
    a reader was shown of each session while it happened. `lease_s`: as the workers had it."""

    logs: Mapping[str, Sequence[Entry]]
    accepted: Sequence[str]
    lost: Sequence[Loss]
    lapsed: Collection[Lapse]
    requests: Sequence[Request]
    effects: Mapping[tuple[str, str], int]
    seen: Mapping[str, Sequence[Seen]]
    lease_s: float

    def without(self, *tasks: str) -> "History":
        """The same where some tasks are not looked at one by one; the logs stay whole."""
        return replace(self, accepted=[task for task in self.accepted if task not in tasks])

    def of(self, task_id: str) -> list["Told"]:
        """The task's events, in order."""
        log = self.logs[task_id.partition(".")[0]]
        return [Told(entry.type, entry.at_ms, json.loads(entry.payload)) for entry in log if entry.task_id == task_id]

    def dump(self, path: Path) -> None:
        """For whoever looks why a run failed: a line for each event and each loss, by time."""
        lines = [(loss.at_ms, f"---- lost {loss.worker}") for loss in self.lost]
        lines += [(each.at_ms, f"---- asked {each.task_id} {each.iteration}") for each in self.requests]
        for log in self.logs.values():
            lines += [(each.at_ms, f"{each.id} {each.fence} {each.payload.decode()}") for each in log]
        lines.sort(key=lambda line: line[0])
        path.write_text("\n".join(f"{at_ms:.0f} {line}" for at_ms, line in lines))


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a task: its type, when it was appended, its payload."""

    type: str
    at_ms: int
    payload: Mapping[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.payload[name]
