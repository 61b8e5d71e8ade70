"""How far a task has gone, against its agent's limits. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from runcast_agents import Limits
from runcast_events.events import Event, TokenUsage
from runcast_worker.engines import EngineError


class Meter:
    """Shown every event of an engine before it is written: one that would go beyond a limit is not. What a model took
    is known when it has answered, so tokens and cost stop what would follow. `before`: what earlier attempts came to,
    by the names of the limits' tallies: iterations, tool_calls, input, output, cost_usd."""

    def __init__(self, limits: Limits, before: Mapping[str, float] | None = None) -> None:
        before = before or {}
        self._limits = limits
        self._iterations, self._tool_calls = before.get("iterations", 0), before.get("tool_calls", 0)
        self._tokens, self._cost = before.get("input", 0) + before.get("output", 0), before.get("cost_usd", 0)
        self._count: dict[str, Callable[[Any], None]] = {
            "iteration_start": self._iteration,
            "tool_call_start": self._tool_call,
            "token_usage": self._usage,
        }

    def see(self, event: Event) -> None:
        """Raises EngineError; its kind is `limit_` and the limit's name."""
        count = self._count.get(event.event_type)
        if count is not None:
            count(event)

    def _iteration(self, event: Event) -> None:
        self._iterations += 1
        self._hold("iterations", self._iterations, self._limits.iterations)
        self._go_on()

    def _tool_call(self, event: Event) -> None:
        self._tool_calls += 1
        self._hold("tool_calls", self._tool_calls, self._limits.tool_calls)
        self._go_on()

    def _usage(self, event: TokenUsage) -> None:
        self._tokens += event.input + event.output
        self._cost += event.cost_usd or 0.0

    def _go_on(self) -> None:
        self._hold("tokens", self._tokens, self._limits.tokens)
        self._hold("cost_usd", self._cost, self._limits.cost_usd)

    def _hold(self, name: str, reached: float, limit: float | None) -> None:
        if limit is not None and reached > limit:
            raise limit_reached(name, limit)


def limit_reached(name: str, limit: float) -> EngineError:
    return EngineError(f"the task reached its limit: {name} = {limit:g}", f"limit_{name}")
