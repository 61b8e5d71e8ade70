"""Approvals: which calls wait for somebody, and what was decided about them."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import JsonValue

from runcast_events.events import ApprovalRequired
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.toolbox.journal import Journal
from runcast_worker.tools import ToolFailed


class Approvals:
    """`tools`: those that somebody has to approve. Decisions are in the journal."""

    def __init__(self, tools: Iterable[str], journal: Journal, redactor: Callable[[], Redactor]) -> None:
        self._tools, self._journal, self._redactor = frozenset(tools), journal, redactor

    def required(
        self, iteration: int, index: int, name: str, arguments: dict[str, JsonValue]
    ) -> ApprovalRequired | None:
        """What is to be asked before the call can be made. None: nothing, or it was decided."""
        asked = self._asked(iteration, index, name, arguments)
        return asked if asked is not None and self._journal.decision(asked) is None else None

    def decided(
        self, iteration: int, index: int, name: str, arguments: dict[str, JsonValue]
    ) -> tuple[dict[str, JsonValue], ToolFailed | None]:
        """The arguments to call with, which may be others than the model's; and the failure, where it was rejected."""
        asked = self._asked(iteration, index, name, arguments)
        decision = None if asked is None else self._journal.decision(asked)
        if decision is None:
            return arguments, None
        if decision["decision"] == "rejected":
            return arguments, _rejected(decision)
        return arguments if decision.get("arguments") is None else decision["arguments"], None

    def _asked(self, iteration: int, index: int, name: str, arguments: dict[str, JsonValue]) -> ApprovalRequired | None:
        if name not in self._tools:
            return None
        return ApprovalRequired.model_validate(
            {
                "iteration": iteration,
                "tool_call_id": f"{iteration}.{index}",
                "tool_name": name,
                "arguments": self._redactor().value(arguments),
                "reason": f"the agent may use {name} only where somebody approves",
            }
        )


def _rejected(decision: Mapping[str, Any]) -> ToolFailed:
    said = f": {decision['reason']}" if decision.get("reason") else ""
    return ToolFailed("rejected", f"{decision['by']} did not allow this call{said}")
