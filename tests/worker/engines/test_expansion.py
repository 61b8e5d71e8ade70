"""From steps to events, whatever the steps."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_events.codec import Envelope
from runcast_events.events import Output, OutputStart, Progress, TaskComplete, Usage
from runcast_worker.engines.python.expansion import PART_CHARS, Expansion, WrongStep
from runcast_worker.python import NextIteration, Say, Step, Think, ToolEnded, ToolStarted, Used


def expand(*steps: Step) -> list[dict[str, Any]]:
    """All events of a run, each of them fit to be written."""
    expansion = Expansion()
    events = [event for step in steps for event in expansion.events(step)] + list(expansion.end())
    for event in events:
        Envelope("s1").encode(event)
    return [{"event_type": event.event_type, **event.model_dump(exclude_unset=True)} for event in events]


def test_pieces_in_a_row_are_one_part() -> None:
    """Opened before the first, closed by what follows; usage does not interrupt it."""
    events = expand(Think("hm"), Say("a"), Say("é🎉"), Used("m", 3, 4, 1, 0.5), Say("b"), Progress(percent=50))
    assert events == [
        {"event_type": "iteration_start", "iteration": 1},
        {"event_type": "thinking_start", "iteration": 1, "part_id": "t1"},
        {"event_type": "thinking", "iteration": 1, "part_id": "t1", "delta": "hm", "offset": 0},
        {"event_type": "think_complete", "iteration": 1, "part_id": "t1", "content": "hm"},
        {"event_type": "output_start", "iteration": 1, "part_id": "o2"},
        {"event_type": "output", "iteration": 1, "part_id": "o2", "delta": "a", "offset": 0},
        {"event_type": "output", "iteration": 1, "part_id": "o2", "delta": "é🎉", "offset": 1},
        *[
            {"event_type": "token_usage", "iteration": 1, "model": "m"}
            | {"input": 3, "output": 4, "cached": 1, "cost_usd": 0.5}
        ],
        {"event_type": "output", "iteration": 1, "part_id": "o2", "delta": "b", "offset": 3},
        {"event_type": "output_complete", "iteration": 1, "part_id": "o2", "content": "aé🎉b"},
        {"event_type": "progress", "percent": 50.0},
        {
            "event_type": "iteration_complete",
            "iteration": 1,
            "usage": {"input": 3, "output": 4, "cached": 1, "cost_usd": 0.5},
        },
    ]


def test_calls_of_the_agents_own_tools_get_ids_of_ours() -> None:
    """Counted per iteration, together with the calls of our tools; the framework's id is kept beside."""
    expansion = Expansion()
    list(expansion.events(ToolStarted("x", "lookup", {"q": 1})))
    assert expansion.own_call() == ([], 1, 1)
    list(expansion.events(NextIteration()))
    (start,) = expansion.events(ToolStarted("y", "lookup"))
    (end,) = expansion.events(ToolEnded("x", {"found": True}))
    (failed,) = expansion.events(ToolEnded("y", error="no such thing"))
    shown = [event.model_dump(exclude_unset=True) for event in (start, end, failed)]
    assert [each["tool_call_id"] for each in shown] == ["2.0", "1.0", "2.0"]
    assert shown[0]["provider_id"] == "y"
    assert (shown[1]["result"], shown[1]["iteration"]) == ({"found": True}, 1)
    assert shown[2]["error"] == {"code": "failed", "message": "no such thing"}


STEPS = st.lists(
    st.one_of(
        st.builds(Say, st.text(st.characters())),
        st.builds(Think, st.text()),
        st.just(NextIteration()),
        st.builds(Used, st.just("m"), st.integers(0, 9)),
        st.just(Progress(percent=1)),
    )
)


@given(STEPS)
def test_whatever_is_yielded_every_part_is_opened_added_to_and_closed(steps: list[Step]) -> None:
    """Offsets join on, contents are the sum of the deltas, iterations nest."""
    opened: dict[str, str] = {}
    seen: set[str] = set()
    iteration, inside = 0, False
    for event in expand(*steps):
        match event["event_type"]:
            case "iteration_start":
                assert not inside
                assert event["iteration"] == iteration + 1
                iteration, inside = iteration + 1, True
            case "iteration_complete":
                assert inside
                assert not opened
                inside = False
            case "output_start" | "thinking_start":
                assert event["part_id"] not in seen
                assert not opened
                seen.add(event["part_id"])
                opened[event["part_id"]] = ""
            case "output" | "thinking":
                assert event["offset"] == len(opened[event["part_id"]])
                assert event["delta"]
                opened[event["part_id"]] += event["delta"]
            case "output_complete" | "think_complete":
                assert opened.pop(event["part_id"]) == event["content"]
        assert event.get("iteration", iteration) == iteration
    assert not inside
    assert not opened


def test_a_text_of_any_length_is_told_in_pieces_and_parts() -> None:
    """No event is too large to be written, and no part grows without bound."""
    events = expand(Say("\x1b" * (PART_CHARS + 10)), Say("end"))
    assert max(len(e.get("delta", "")) for e in events) == 8192
    assert [len(e["content"]) for e in events if e["event_type"] == "output_complete"] == [PART_CHARS, 13]


def test_arguments_that_are_too_long_are_shown_cut() -> None:
    """As text, with their size."""
    (event,) = (e for e in expand(ToolStarted("x", "t", {"a": "b" * 60_000})) if e["event_type"] == "tool_call_start")
    assert event["arguments"] == {}
    assert "60009 characters in all" in event["raw_arguments"]


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (["text"], "'text': expected one of"),
        ([None], "None: expected one of"),
        ([Say(1)], "expected a text"),  # type: ignore[arg-type]
        ([OutputStart(part_id="1")], "expected one of"),
        ([Output(part_id="1", delta="x", offset=0)], "expected one of"),
        ([TaskComplete(final_answer="", total_iterations=0, duration_ms=0, usage=Usage())], "expected one of"),
        ([ToolEnded("x")], "expected ToolStarted before"),
        ([ToolStarted("x", "t"), ToolStarted("x", "t")], "runs already"),
        ([ToolStarted("x", "t", {"a": {1, 2}})], "no JSON"),  # type: ignore[dict-item]
        ([ToolStarted("x", "t", {"a": float("nan")})], "no JSON"),
        ([ToolStarted("x", "t", {"a": "\ud800"})], "no JSON"),
    ],
)
def test_a_wrong_step_is_refused_with_what_was_expected(steps: list[Any], said: str) -> None:
    """Nothing half of it is told."""
    with pytest.raises(WrongStep, match=said):
        expand(*steps)


def test_a_wrong_count_is_refused() -> None:
    """By the event's model."""
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        expand(Used("m", -1))


@pytest.mark.parametrize(("checkpoint", "reached", "reset"), [(1, 3, [2, 3]), (0, 2, [1, 2]), (2, 2, [3]), (0, 0, [1])])
def test_another_attempt_resets_every_iteration_that_it_tells_anew(
    checkpoint: int, reached: int, reset: list[int]
) -> None:
    """From its checkpoint up to the one in which another has left parts open; once, before anything else."""
    expansion = Expansion(2, checkpoint, reached)
    events = [*expansion.events(Say("a")), *expansion.events(NextIteration()), *expansion.events(Say("b"))]
    told = [(event.event_type, event.iteration) for event in events if "iteration" in event.event_type]
    assert told[: len(reset)] == [("iteration_reset", number) for number in reset]
    assert told[len(reset) :] == [
        ("iteration_start", checkpoint + 1),
        ("iteration_complete", checkpoint + 1),
        ("iteration_start", checkpoint + 2),
    ]
