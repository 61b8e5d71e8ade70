"""Checks over recorded histories: guarantees 1 to 4 of docs/architecture.md, stated once, used by many tests."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from runcast_events.continuity import follows
from runcast_events.entry import Entry
from runcast_events.ids import START, EventId
from runcast_events.states import LIVE, TERMINAL_EVENTS, after


@dataclass(frozen=True)
class Seen:
    """One thing a client was shown: an event's id and payload, or a gap up to `id`."""

    id: EventId
    payload: bytes = b""
    gap: bool = False


def check_log(log: Sequence[Entry], trimmed: bool = False) -> None:
    """1: ids rise; within an epoch no hole and no repeat; every epoch names the id before it."""
    cursor = START
    for index, entry in enumerate(log):
        if index == 0 and trimmed:
            cursor = entry.id
            continue
        assert follows(cursor, entry.id, entry.prev), f"{entry.id} (prev {entry.prev}) does not follow {cursor}"
        cursor = entry.id


def check_tasks(log: Iterable[Entry], ended: bool = True) -> None:
    """3 and 4: a task's events move it as the state table says, with one terminal event and nothing after it; and the
    fences of attempts never go back."""
    states: dict[str, str] = {}
    fences: dict[str, int] = {}
    for entry in log:
        if not entry.task_id:
            continue
        state = after(states.get(entry.task_id, ""), entry.type)
        assert state is not None, f"{entry.type} at {entry.id} is illegal in state {states.get(entry.task_id, '')!r}"
        states[entry.task_id] = state
        assert entry.fence >= fences.get(entry.task_id, 0), f"attempts interleave at {entry.id}"
        fences[entry.task_id] = entry.fence
    if ended:
        assert not {task for task, state in states.items() if state in LIVE}, f"tasks without an end: {states}"


def check_terminals(log: Iterable[Entry], accepted: Iterable[str]) -> None:
    """3: every accepted task has exactly one terminal event."""
    counts = dict.fromkeys(accepted, 0)
    for entry in log:
        if entry.type in TERMINAL_EVENTS:
            counts[entry.task_id] = counts.get(entry.task_id, 0) + 1
    assert set(counts.values()) <= {1}, f"terminal events per task: {counts}"


def check_client(seen: Sequence[Seen], log: Sequence[Entry], cursor: EventId = START) -> None:
    """2: over all its reconnects a client was shown exactly the log after its first cursor, in order, or a gap stands
    exactly at the break."""
    by_id = {entry.id: entry for entry in log}
    for item in seen:
        if item.gap:
            cursor = item.id
            continue
        entry = by_id.get(item.id)
        assert entry is not None, f"the client was shown {item.id}, which is not in the log"
        assert follows(cursor, entry.id, entry.prev), f"the client saw {entry.id} right after {cursor}, without a gap"
        assert item.payload == entry.payload, f"the client saw other content under {entry.id}"
        cursor = entry.id
    if log:
        assert cursor == log[-1].id, f"the client stopped at {cursor}, the log ends at {log[-1].id}"
