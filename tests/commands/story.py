"""What a session's log tells of its tasks: a fold over its events, and what must hold of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from runcast_events.entry import Entry
from runcast_events.states import LIVE, TERMINAL, after


@dataclass
class TaskStory:
    """Of one task. `waiting`: the call that it waits for, or last waited for. `decided`: by call, (decision,
    arguments). `asked`: the arguments of each call that an approval was asked for."""

    id: str
    state: str = ""
    waiting: str | None = None
    decided: dict[str, tuple[str, Any]] = field(default_factory=dict)
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    def tell(self, kind: str, payload: dict[str, Any]) -> None:
        moved = after(self.state, kind)
        assert moved is not None, f"{kind} is illegal in state {self.state!r} of {self.id}"
        self.state = moved
        self.events.append(payload)
        if kind == "approval_required":
            self.waiting = payload["tool_call_id"]
            self.asked[payload["tool_call_id"]] = payload["arguments"]
        elif kind == "approval_resolved":
            assert payload["tool_call_id"] not in self.decided, "a call was decided about twice"
            assert payload["tool_call_id"] == self.waiting, "a call was decided about that did not wait"
            self.decided[payload["tool_call_id"]] = (payload["decision"], payload.get("arguments"))

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event_type"] in kinds]


class Story:
    """Of a session: told event by event, or the whole log at once."""

    def __init__(self, log: Sequence[Entry] = ()) -> None:
        self.tasks: dict[str, TaskStory] = {}
        self.messages: list[tuple[str, str, str]] = []
        self.todos: list[dict[str, Any]] = []
        self.deleted = False
        self.length = 0
        for entry in log:
            self.tell(entry)

    def tell(self, entry: Entry) -> None:
        payload = json.loads(entry.payload)
        self.length += 1
        if entry.type == "session_deleted":
            self.deleted = True
        if entry.type == "message_added":
            self.messages.append((payload["role"], payload["content"], entry.task_id))
        if entry.type == "todos_updated":
            self.todos = payload["todos"]
        if entry.task_id:
            self.tasks.setdefault(entry.task_id, TaskStory(entry.task_id)).tell(entry.type, payload)

    @property
    def live(self) -> set[str]:
        return {task.id for task in self.tasks.values() if task.state in LIVE}

    @property
    def at_rest(self) -> bool:
        return not self.live


def check_order(log: Sequence[Entry], order: Sequence[str]) -> None:
    """First come, first served: a task starts when all before it in the session's line have ended."""
    story = Story()
    for entry in log:
        story.tell(entry)
        if entry.type == "task_started":
            before = order[: order.index(entry.task_id)]
            waiting = [task for task in before if story.tasks[task].state not in TERMINAL]
            assert not waiting, f"{entry.task_id} started before {waiting} had ended"
