"""The journal: what a task's tool calls came to, so that no call whose end was acknowledged is ever made again.

Of each call there is nothing, a beginning, or an end. An attempt that takes over makes the first, does not make the
last again, and tells of the others that nobody knows: unless repeating them does no harm, then it repeats them. A
call is known by its id and a digest of its name and arguments.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from runcast_events.events import ApprovalRequired, Event, ToolCallComplete, ToolCallStart
from runcast_events.log import Write

APPROVAL, REQUIRED = "approval:", "required:"
"""Before the id of the call that a decision is about, and of the call that it was asked for."""
Begun = Literal["begun"]
CALL_EVENTS = frozenset({"tool_call_start", "tool_call_complete"})
"""Those that have an entry."""


class Journal:
    """`earlier`: entries of the attempts before this one, by call id: {name, digest, complete, closed}; `closed`: the
    log shows an end, but not the call's own."""

    def __init__(self, earlier: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        entries = dict(earlier or {})
        self._decisions = {name: entries.pop(name) for name in list(entries) if name.startswith((APPROVAL, REQUIRED))}
        self._earlier = entries
        self._digests: dict[str, str] = {}
        self._open: set[str] = set()

    def find(self, start: ToolCallStart) -> ToolCallComplete | Begun | None:
        """What became of the same call in an earlier attempt: its end, a beginning, or nothing."""
        entry = self._same(start)
        if entry is None:
            return None
        if entry["complete"] is None:
            self._open.add(start.tool_call_id)
            return "begun"
        return ToolCallComplete.model_validate(entry["complete"])

    def decision(self, required: ApprovalRequired) -> Mapping[str, Any] | None:
        """What somebody decided about this very call: {decision, by, arguments, reason}; None: nothing yet. What was
        decided about another one that had its id does not count."""
        asked = self._decisions.get(REQUIRED + required.tool_call_id)
        if asked is None or asked["digest"] != _digest(required.tool_name, required.arguments, None):
            return None
        return self._decisions.get(APPROVAL + required.tool_call_id)

    def knows(self, event: Event) -> bool:
        """Whether an earlier attempt has written this event of a call."""
        if not self._earlier:
            return False
        if isinstance(event, ToolCallStart):
            entry = self._same(event)
            return entry is not None and not entry.get("closed")
        if isinstance(event, ToolCallComplete):
            entry = self._earlier.get(event.tool_call_id)
            return entry is not None and entry["complete"] is not None
        return False

    def writes(self, event: Event) -> Sequence[Write]:
        """The entry that goes with an event of a call, in the same step."""
        if isinstance(event, ToolCallStart):
            self._earlier.pop(event.tool_call_id, None)  # another call has taken its id
            self._digests[event.tool_call_id] = digest(event)
            self._open.add(event.tool_call_id)
            return (self._entry(event, None),)
        if isinstance(event, ToolCallComplete):
            self._open.discard(event.tool_call_id)
            return (self._entry(event, event.model_dump(mode="json", exclude_unset=True)),)
        return ()

    def settled(self, iteration: int) -> Sequence[Write]:
        """Takes the entries of the calls up to this iteration away: an attempt that goes on behind it makes none of
        them again. Those of calls that still run stay until the next time; and what was decided about them, for whoever
        asks or decides once more."""
        known = {**self._earlier, **self._digests}.keys() - self._open
        ids = sorted(call_id for call_id in known if (iteration_of(call_id) or iteration + 1) <= iteration)
        for call_id in ids:
            self._earlier.pop(call_id, None)
            self._digests.pop(call_id, None)
        return [Write("settled", call_id, "") for call_id in ids]

    def interrupted(self, event: ToolCallComplete) -> Sequence[Write]:
        """Of a call that the attempt stops and the log shows as ended, although nobody knows what it did."""
        return (self._entry(event, None, closed=True),)

    def _same(self, start: ToolCallStart) -> Mapping[str, Any] | None:
        entry = self._earlier.get(start.tool_call_id)
        if entry is None or entry["digest"] != digest(start):
            return None
        self._digests[start.tool_call_id] = entry["digest"]
        return entry

    def _entry(
        self, event: ToolCallStart | ToolCallComplete, complete: dict[str, Any] | None, *, closed: bool = False
    ) -> Write:
        entry = {
            "name": event.tool_name,
            "digest": self._digests.get(event.tool_call_id, ""),
            "complete": complete,
            "closed": closed,
        }
        return Write("journal", event.tool_call_id, json.dumps(entry, ensure_ascii=False))


def iteration_of(call_id: str) -> int | None:
    """Ids are `<iteration>.<index>`, but for those that a script was given."""
    number, _, index = call_id.partition(".")
    return int(number) if number.isdecimal() and index.isdecimal() and number.isascii() else None


def digest(start: ToolCallStart) -> str:
    """Of what the call is, as the log shows it."""
    return _digest(start.tool_name, start.arguments, start.raw_arguments)


def required_writes(required: ApprovalRequired) -> Sequence[Write]:
    """What goes with the event that asks for an approval: for whoever decides, and which call it is about."""
    about = {"digest": _digest(required.tool_name, required.arguments, None)}
    return (
        Write("record", "approval", required.model_dump_json()),
        Write("journal", REQUIRED + required.tool_call_id, json.dumps(about)),
    )


def _digest(name: str, arguments: Mapping[str, Any], raw_arguments: str | None) -> str:
    return hashlib.sha256(json.dumps([name, arguments, raw_arguments], sort_keys=True).encode()).hexdigest()
