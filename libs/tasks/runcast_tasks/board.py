"""What a session's record shows of its work: the plan with its phases, the todos, and what models took. Pure."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from runcast_events.events import (
    Event,
    IterationStart,
    PhaseComplete,
    PhaseStart,
    PlanCreated,
    TodosUpdated,
    TokenUsage,
)
from runcast_events.log import Write

_NOTHING: tuple[Write, ...] = ()


class Board:
    """Asked of every event which fields of the record it changes; they are written in the same step as the event.
    `plan`: the session's, as its record has it, so that a later task may go on with its phases."""

    def __init__(self, plan: str | None = None) -> None:
        self._plan: dict[str, Any] | None = json.loads(plan) if plan else None
        self._writes: dict[str, Callable[[Any], Sequence[Write]]] = {
            "plan_created": self._plan_created,
            "phase_start": self._phase_start,
            "phase_complete": self._phase_complete,
            "todos_updated": _todos,
            "token_usage": _usage,
            "iteration_start": _iteration,
            "output_complete": lambda event: (Write("record", "answer", event.content),),
            "tool_call_start": lambda _: (Write("tally", "tool_calls", "1"),),
        }

    @property
    def phases(self) -> list[dict[str, str]]:
        """Of the plan: {id, name, state: pending | active | done} each."""
        return self._plan["phases"] if self._plan else []

    def writes(self, event: Event) -> Sequence[Write]:
        writes = self._writes.get(event.event_type)
        return _NOTHING if writes is None else writes(event)

    def _plan_created(self, event: PlanCreated) -> Sequence[Write]:
        phases = [{"id": phase.id, "name": phase.name, "state": "pending"} for phase in event.phases]
        self._plan = {"goal": event.goal, "phases": phases}
        return self._written()

    def _phase_start(self, event: PhaseStart) -> Sequence[Write]:
        return self._phase(event.phase_id, "active")

    def _phase_complete(self, event: PhaseComplete) -> Sequence[Write]:
        return self._phase(event.phase_id, "done")

    def _phase(self, phase_id: str, state: str) -> Sequence[Write]:
        found = [phase for phase in self.phases if phase["id"] == phase_id]
        for phase in found:
            phase["state"] = state
        return self._written() if found else _NOTHING

    def _written(self) -> Sequence[Write]:
        return (Write("session", "plan", json.dumps(self._plan, ensure_ascii=False)),)


def _iteration(event: IterationStart) -> Sequence[Write]:
    """How often one began, for the limits; and the last one, for the end."""
    return Write("tally", "iterations", "1"), Write("record", "iteration", str(event.iteration))


def _todos(event: TodosUpdated) -> Sequence[Write]:
    todos = [todo.model_dump_json() for todo in event.todos]
    return (Write("session", "todos", f"[{','.join(todos)}]"),)


def _usage(event: TokenUsage) -> Sequence[Write]:
    """Added up by the store, in the record of the task and of the session: it counts over attempts and tasks."""
    cost = ("unpriced", "1") if event.cost_usd is None else ("cost_usd", f"{event.cost_usd:.9f}")
    counts = (("input", str(event.input)), ("output", str(event.output)), ("cached", str(event.cached)), cost)
    return tuple(Write("tally", name, value) for name, value in counts if value != "0")
