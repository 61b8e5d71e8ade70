"""The meter: how far a task may go."""

import pytest

from runcast_agents import Limits
from runcast_events.events import Event, IterationStart, TokenUsage, ToolCallStart
from runcast_worker.attempt.limits import Meter
from runcast_worker.engines import EngineError


def usage(tokens: int, cost: float | None) -> Event:
    return TokenUsage(model="m", input=tokens, output=0, cached=0, cost_usd=cost)


def call(index: int) -> Event:
    return ToolCallStart(tool_call_id=f"1.{index}", tool_name="shell", arguments={})


@pytest.mark.parametrize(
    ("limits", "events", "kind"),
    [
        (Limits(iterations=2), [IterationStart(iteration=i) for i in (1, 2, 3)], "limit_iterations"),
        (Limits(tool_calls=2), [call(i) for i in (0, 1, 2)], "limit_tool_calls"),
        (Limits(tokens=10), [usage(8, None), call(0), usage(3, None), call(1)], "limit_tokens"),
        (Limits(cost_usd=0.1), [usage(1, 0.09), usage(1, 0.02), IterationStart(iteration=2)], "limit_cost_usd"),
    ],
)
def test_the_event_that_goes_beyond_a_limit_is_not_written(limits: Limits, events: list[Event], kind: str) -> None:
    """All before it are."""
    meter = Meter(limits)
    for event in events[:-1]:
        meter.see(event)
    with pytest.raises(EngineError) as reached:
        meter.see(events[-1])
    assert reached.value.kind == kind


def test_an_answer_that_used_up_the_tokens_is_an_answer() -> None:
    """They are spent; only what would follow is stopped."""
    meter = Meter(Limits(tokens=1))
    meter.see(IterationStart(iteration=1))
    meter.see(usage(100, None))


def test_what_earlier_attempts_took_counts() -> None:
    """Also the money, where the price of another call is not known."""
    spent = {"iterations": 2.0, "tool_calls": 1.0, "input": 5.0, "output": 6.0, "cost_usd": 5.0, "unpriced": 1.0}
    for limits in (Limits(iterations=2), Limits(tokens=10), Limits(cost_usd=1)):
        with pytest.raises(EngineError):
            Meter(limits, spent).see(IterationStart(iteration=3))
    with pytest.raises(EngineError):
        Meter(Limits(tool_calls=1), spent).see(call(0))
