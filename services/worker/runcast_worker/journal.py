"""The journal: what a task's tool calls came to, so that no call whose end was acknowledged is ever made again.

Of each call there is nothing, a beginning, or an end. An attempt that takes over makes the first, does not make the
last again, and tells of the others that nobody knows: unless repeating them does no harm, then it repeats them. A
call is known by its id and a digest of its name and arguments.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from runcast_events.events import Event, ToolCallComplete, ToolCallStart
from runcast_events.log import Write

APPROVAL = "approval:"
"""Before the id of the call that a decision is about."""
Begun = Literal["begun"]
CALL_EVENTS = frozenset({"tool_call_start", "tool_call_complete"})
"""Those that have an entry."""


class Journal:
    """`earlier`: entries of the attempts before this one, by call id: {name, digest, complete}."""

    def __init__(self, earlier: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        entries = dict(earlier or {})
        self._decisions = {name: entries.pop(name) for name in list(entries) if name.startswith(APPROVAL)}
        self._earlier = entries
        self._digests: dict[str, str] = {}

    def find(self, start: ToolCallStart) -> ToolCallComplete | Begun | None:
        """What became of the same call in an earlier attempt: its end, a beginning, or nothing."""
        entry = self._same(start)
        if entry is None:
            return None
        return "begun" if entry["complete"] is None else ToolCallComplete.model_validate(entry["complete"])

    def decision(self, call_id: str) -> Mapping[str, Any] | None:
        """What somebody decided about a call: {decision, by, arguments, reason}; None: nothing yet."""
        return self._decisions.get(APPROVAL + call_id)

    def knows(self, event: Event) -> bool:
        """Whether an earlier attempt has written this event of a call."""
        if not self._earlier:
            return False
        if isinstance(event, ToolCallStart):
            return self._same(event) is not None
        if isinstance(event, ToolCallComplete):
            entry = self._earlier.get(event.tool_call_id)
            return entry is not None and entry["complete"] is not None
        return False

    def writes(self, event: Event) -> Sequence[Write]:
        """The entry that goes with an event of a call, in the same step."""
        if isinstance(event, ToolCallStart):
            self._earlier.pop(event.tool_call_id, None)  # another call has taken its id
            self._digests[event.tool_call_id] = digest(event)
            return (self._entry(event, None),)
        if isinstance(event, ToolCallComplete):
            return (self._entry(event, event.model_dump(mode="json", exclude_unset=True)),)
        return ()

    def _same(self, start: ToolCallStart) -> Mapping[str, Any] | None:
        entry = self._earlier.get(start.tool_call_id)
        if entry is None or entry["digest"] != digest(start):
            return None
        self._digests[start.tool_call_id] = entry["digest"]
        return entry

    def _entry(self, event: ToolCallStart | ToolCallComplete, complete: dict[str, Any] | None) -> Write:
        entry = {
            "name": event.tool_name,
            "digest": self._digests.get(event.tool_call_id, ""),
            "complete": complete,
        }
        return Write("journal", event.tool_call_id, json.dumps(entry, ensure_ascii=False))


def digest(start: ToolCallStart) -> str:
    """Of what the call is, as the log shows it."""
    shown = json.dumps([start.tool_name, start.arguments, start.raw_arguments], sort_keys=True)
    return hashlib.sha256(shown.encode()).hexdigest()
