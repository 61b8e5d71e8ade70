"""The transcript: what an attempt has open, and what its end tells."""

from runcast_events.events import (
    Event,
    IterationComplete,
    IterationStart,
    Output,
    OutputComplete,
    OutputStart,
    ThinkingStart,
    TokenUsage,
    ToolCallStart,
)
from runcast_worker.attempt.transcript import Transcript


def shown(*events: Event) -> Transcript:
    transcript = Transcript()
    for event in events:
        transcript.see(event)
    return transcript


def test_what_an_engine_left_open_is_closed_from_the_inside_out() -> None:
    """Parts with what was streamed so far, calls as cancelled, then the iteration."""
    transcript = shown(
        IterationStart(iteration=1),
        OutputStart(iteration=1, part_id="1"),
        Output(iteration=1, part_id="1", delta="so ", offset=0),
        Output(iteration=1, part_id="1", delta="far", offset=3),
        ToolCallStart(iteration=1, tool_call_id="1.0", tool_name="shell", arguments={}),
    )
    call, part, iteration = transcript.closing()
    assert call.event_type == "tool_call_complete"
    assert call.model_dump()["error"]["code"] == "cancelled"
    assert part == OutputComplete(iteration=1, part_id="1", content="so far")
    assert iteration == IterationComplete(iteration=1)
    assert transcript.closing() == []


def test_what_was_closed_is_not_closed_again() -> None:
    """A thinking part and an output part may have the same id."""
    transcript = shown(
        ThinkingStart(part_id="1"), OutputStart(part_id="1"), OutputComplete(part_id="1", content="whole")
    )
    assert [event.event_type for event in transcript.closing()] == ["think_complete"]
    assert transcript.final_answer == "whole"


def test_usage_is_summed_and_its_cost_unknown_where_one_is() -> None:
    """A sum that leaves something out would be a lie."""
    known = TokenUsage(model="m", input=1, output=2, cached=3, cost_usd=0.5)
    unknown = TokenUsage(model="m", input=1, output=1, cached=1, cost_usd=None)
    assert shown(known, known).usage.model_dump() == {"input": 2, "output": 4, "cached": 6, "cost_usd": 1.0}
    assert shown(known, unknown).usage.cost_usd is None
    assert shown().usage.cost_usd is None
