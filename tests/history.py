"""Checks over recorded histories: guarantees 1 to 4 of docs/architecture.md, stated once, used by many tests."""

from collections.abc import Iterable, Mapping, Sequence
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


def check_tasks(log: Iterable[Entry], ended: bool = True, cut_off: Mapping[str, str] | None = None) -> None:
    """3 and 4: a task's events move it as the state table says, with one terminal event and nothing after it; and the
    fences of attempts never go back. `cut_off`: tasks whose first events the store has lost, with their states then."""
    states: dict[str, str] = dict(cut_off or {})
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


def check_client(
    seen: Sequence[Seen], log: Sequence[Entry], cursor: EventId = START, rolled_back: bool = False
) -> None:
    """2: over all its reconnects a client was shown exactly the log after its first cursor, in order, or a gap stands
    exactly at the break. `rolled_back`: the store may have lost its tail; what the client had of that, a gap made void
    before anything else was shown."""
    by_id = {entry.id: entry for entry in log}
    void: EventId | None = None
    for item in seen:
        if item.gap:
            cursor, void = item.id, None
            continue
        entry = by_id.get(item.id)
        if rolled_back and entry is None:
            void = void or item.id
            continue
        assert entry is not None, f"the client was shown {item.id}, which is not in the log"
        assert void is None, f"the client saw {entry.id} after {void}, which is not in the log, without a gap between"
        assert follows(cursor, entry.id, entry.prev), f"the client saw {entry.id} right after {cursor}, without a gap"
        assert item.payload == entry.payload, f"the client saw other content under {entry.id}"
        cursor = entry.id
    assert void is None, f"the client was not told that {void} is not in the log any more"
    if log:
        assert cursor == log[-1].id, f"the client stopped at {cursor}, the log ends at {log[-1].id}"
