"""What a session's record shows of its work."""

import json

from runcast_events.events import (
    IterationStart,
    Output,
    Phase,
    PhaseComplete,
    PhaseStart,
    PlanCreated,
    Todo,
    TodosUpdated,
    TokenUsage,
    ToolCallStart,
)
from runcast_tasks.board import Board

PLAN = PlanCreated(goal="g", phases=[Phase(id="a", name="A"), Phase(id="b", name="B")])


def phase(kind: type[PhaseStart] | type[PhaseComplete], phase_id: str) -> PhaseStart | PhaseComplete:
    return kind(phase_id=phase_id, phase_name="", phase_index=0)


def test_a_plan_shows_how_far_it_is() -> None:
    """Each phase is pending, active or done; a new plan replaces the old one."""
    board = Board()
    assert board.phases == []
    board.writes(PLAN)
    board.writes(phase(PhaseStart, "a"))
    board.writes(phase(PhaseComplete, "a"))
    (write,) = board.writes(phase(PhaseStart, "b"))
    assert (write.kind, write.field) == ("session", "plan")
    assert [p["state"] for p in json.loads(write.value)["phases"]] == ["done", "active"]
    board.writes(PLAN)
    assert [p["state"] for p in board.phases] == ["pending", "pending"]


def test_a_later_task_goes_on_with_the_plan() -> None:
    """It is read from the session's record."""
    first = Board()
    (write,) = first.writes(PLAN)
    later = Board(str(write.value))
    (write,) = later.writes(phase(PhaseComplete, "a"))
    assert json.loads(write.value)["phases"][0]["state"] == "done"


def test_a_phase_that_no_plan_has_changes_nothing() -> None:
    """The event is shown all the same."""
    assert Board().writes(phase(PhaseStart, "a")) == ()


def test_todos_are_written_whole() -> None:
    """The newest list is the list."""
    (write,) = Board().writes(TodosUpdated(todos=[Todo(id="1", text="t", done=True)]))
    assert json.loads(write.value) == [{"id": "1", "text": "t", "done": True}]


def test_usage_is_told_in_numbers_to_add() -> None:
    """A call of unknown price is counted, so that no sum pretends to be whole."""
    priced = TokenUsage(model="m", input=3, output=0, cached=1, cost_usd=0.25)
    assert [(w.kind, w.field, w.value) for w in Board().writes(priced)] == [
        ("tally", "input", "3"),
        ("tally", "cached", "1"),
        ("tally", "cost_usd", "0.250000000"),
    ]
    unknown = TokenUsage(model="m", input=0, output=2, cached=0, cost_usd=None)
    assert [(w.field, w.value) for w in Board().writes(unknown)] == [("output", "2"), ("unpriced", "1")]


def test_other_events_change_nothing() -> None:
    """The most frequent ones cost one look-up."""
    assert Board().writes(Output(part_id="o", delta="x", offset=0)) == ()


def test_iterations_and_calls_are_counted_over_attempts() -> None:
    """By the store, as usage is."""
    start = ToolCallStart(tool_call_id="1.0", tool_name="shell", arguments={})
    written = [*Board().writes(IterationStart(iteration=1)), *Board().writes(start)]
    assert [(w.kind, w.field, w.value) for w in written] == [
        ("tally", "iterations", "1"),
        ("record", "iteration", "1"),
        ("tally", "tool_calls", "1"),
    ]
