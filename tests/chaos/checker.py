"""What must hold of a run whatever was killed in it, as pure functions of its recording. `check` is all of them.

Each raises AssertionError with what is wrong, and of which task.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from runcast_events.states import TERMINAL_EVENTS
from tests.chaos.recording import History, Told
from tests.history import check_client, check_log, check_tasks, check_terminals

RECOVERY_S = 2.0
"""Beyond the lease: within it another worker has begun."""
RING_MS = 100
"""From when a task is queued until some worker has claimed it."""
FLIGHT_MS = 1000
"""What a worker had sent when it was lost is appended so much later at most."""
POISON = 3
STARTS = {"output_start": "output_complete", "thinking_start": "think_complete"}
DELTAS = frozenset({"output", "thinking"})


def check(history: History, *, in_time: bool = True) -> None:
    """Everything. `in_time`: False where there were moments without a worker who could go on with what was lost."""
    for log in history.logs.values():
        check_log(log)
        check_tasks(log)
    check_terminals((entry for log in history.logs.values() for entry in log), history.accepted)
    for session_id, log in history.logs.items():
        check_client(history.seen.get(session_id, ()), log)
    check_order(history)
    check_requests(history)
    check_calls(history)
    check_parts(history)
    check_usage(history)
    check_crashes(history)
    if in_time:
        check_recovery(history)


def check_order(history: History) -> None:
    """A session's tasks run one after the other, as they were accepted."""
    for session_id, log in history.logs.items():
        expected = [task for task in history.accepted if task.startswith(f"{session_id}.")]
        running, begun = "", []
        for entry in log:
            if entry.type == "task_started" and entry.task_id not in begun:
                begun.append(entry.task_id)
            if entry.type == "task_started":
                assert running in ("", entry.task_id), f"{entry.task_id} began while {running} had not ended"
                running = entry.task_id
            if entry.type in TERMINAL_EVENTS and entry.task_id == running:
                running = ""
        assert [task for task in expected if task in begun] == begun, f"{session_id}: {begun} instead of {expected}"


def check_requests(history: History) -> None:
    """No model is asked again for an answer that was acknowledged; nor twice for the same by one attempt."""
    answered: dict[tuple[str, int], float] = {}
    begun: dict[str, list[int]] = {}
    for task_id in history.accepted:
        for event in history.of(task_id):
            if event.type in ("tool_call_start", "iteration_complete"):
                answered.setdefault((task_id, event["iteration"]), event.at_ms)
            elif event.type == "task_started":
                begun.setdefault(task_id, []).append(event.at_ms)
    asked = set()
    for request in history.requests:
        about = (request.task_id, request.iteration)
        # A millisecond, since the store tells no less.
        known_at = answered.get(about, float("inf"))
        assert request.at_ms <= known_at + 1, f"{about} was asked for again after its answer was acknowledged"
        by = sum(at_ms <= request.at_ms + 1 for at_ms in begun.get(request.task_id, ()))
        assert (about, by) not in asked, f"{about} was asked for twice by one attempt, the {by}th"
        asked.add((about, by))


def check_calls(history: History) -> None:
    """Each call begins and ends once in the log; one that ended has had its effect once, one that was interrupted at
    most once; and nothing has an effect that no log tells of."""
    effects = dict(history.effects)
    for task_id in history.accepted:
        told = history.of(task_id)
        starts = Counter(event["tool_call_id"] for event in told if event.type == "tool_call_start")
        ends = {event["tool_call_id"]: event for event in told if event.type == "tool_call_complete"}
        counts = Counter(event["tool_call_id"] for event in told if event.type == "tool_call_complete")
        assert set(starts.values()) <= {1}, f"{task_id}: calls that began twice: {starts}"
        assert set(counts.values()) <= {1}, f"{task_id}: calls that ended twice: {counts}"
        assert starts.keys() == ends.keys(), f"{task_id}: {starts.keys() ^ ends.keys()} without an end"
        for call_id in starts:
            times, end = effects.pop((task_id, call_id), 0), ends.get(call_id)
            if end is not None and end.payload.get("error") is None and end["tool_name"] == "shell":
                assert end["result"]["exit_code"] == 0, f"{task_id} {call_id}: {end.payload}"
                assert times == 1, f"{task_id} {call_id} ended, and was made {times} times"
            elif end is not None and end.payload.get("error") is not None:
                assert end["error"]["code"] == "interrupted", f"{task_id} {call_id}: {end.payload}"
            assert times <= 1, f"{task_id} {call_id} was made {times} times"
    assert not effects, f"effects of calls that no log tells of: {effects}"


def check_parts(history: History) -> None:
    """Each part is opened once, continued without a hole, and closed with the whole, or its iteration was reset."""
    for task_id in history.accepted:
        said: dict[str, str] = {}
        opened: dict[str, Told] = {}
        for event in history.of(task_id):
            if event.type in STARTS:
                assert event["part_id"] not in said, f"{task_id}: the part {event['part_id']} was opened twice"
                said[event["part_id"]] = ""
                opened[event["part_id"]] = event
            elif event.type in DELTAS:
                part = event["part_id"]
                assert part in opened, f"{task_id}: the part {part} goes on although it is not open"
                assert event["offset"] == len(said[part]), f"{task_id}: a hole in the part {part}"
                said[part] += event["delta"]
            elif event.type in STARTS.values():
                start = opened.pop(event["part_id"], None)
                assert start is not None, f"{task_id}: the part {event['part_id']} was closed and is not open"
                assert STARTS[start.type] == event.type
                assert event["content"] == said[event["part_id"]], f"{task_id}: the part {event['part_id']} is another"
            elif event.type == "iteration_reset":
                opened = {part: start for part, start in opened.items() if start["iteration"] != event["iteration"]}
        assert not opened, f"{task_id} ended with open parts: {list(opened)}"


def check_usage(history: History) -> None:
    """What the task's end tells is the sum of what all its attempts told."""
    for task_id in history.accepted:
        told = history.of(task_id)
        if told[-1].type == "task_complete":
            for name in ("input", "output", "cached"):
                took = sum(event.payload.get(name, 0) for event in told if event.type == "token_usage")
                total = told[-1]["usage"].get(name, 0)
                assert total == took, f"{task_id}: {name} is {total}, its events add up to {took}"


def check_crashes(history: History) -> None:
    """Only a worker that was lost, or stood still, counts as a crash, once for each task that it held; and three end a
    task."""
    lapsed = {(lapse.worker, lapse.task_id) for lapse in history.lapsed}
    for task_id in history.accepted:
        crashes = 0
        for attempt in attempts(history.of(task_id)):
            if attempt.end not in ("crash", "poison"):
                continue
            crashes += 1
            lost = _lost_ms(history, attempt) is not None or (attempt.worker, task_id) in lapsed
            assert lost, f"{task_id}: {attempt.worker} was not lost by then, and counts as a crash"
            assert (attempt.end == "poison") == (crashes == POISON), f"{task_id} is {attempt.end} after {crashes}"


def check_recovery(history: History) -> None:
    """What a lost worker held is gone on with in time, also what it had claimed and not begun; but for what has one
    attempt left: that waits until there is a worker without another such task."""
    within_s = history.lease_s + RECOVERY_S
    for recovery in recoveries(history):
        assert recovery.last_chance or recovery.seconds <= within_s, f"{recovery} is too late"
    for task_id in history.accepted:
        first = next(attempts(history.of(task_id)), None)
        if first is not None and first.number > 1:
            since = [first.started_ms - loss.at_ms for loss in history.lost if loss.at_ms <= first.started_ms]
            assert min(since, default=0.0) <= within_s * 1000, f"{task_id} was claimed, and begins too late"


@dataclass(frozen=True, slots=True)
class Attempt:
    """As the log tells it. `end`: complete, failed, cancelled, paused, waiting; why it was requeued; or `poison`.
    `next_ms`: when another began, or the task ended without one. `claims_lost`: workers that had claimed it in between
    and did not begin."""

    number: int
    worker: str
    started_ms: int
    end: str
    ended_ms: int
    next_ms: int
    claims_lost: int


@dataclass(frozen=True, slots=True)
class Recovery:
    """From a worker's loss to the next attempt at what it held. `last_chance`: its workers were lost so often by then
    that the next time ends it."""

    task_id: str
    worker: str
    seconds: float
    last_chance: bool


def attempts(told: list[Told]) -> Iterator[Attempt]:
    """Of one task, in order."""
    started: Told | None = None
    ended: Told | None = None
    for event in told:
        over = event.type in ENDS or event.type in TERMINAL_EVENTS
        if event.type == "task_started" or (over and ended is not None and event.type in TERMINAL_EVENTS):
            if started is not None and ended is not None:
                yield _attempt(started, ended, event)
            started, ended = (event, None) if event.type == "task_started" else (None, None)
        elif over and started is not None and ended is None:
            ended = event
    if started is not None and ended is not None:
        yield _attempt(started, ended, ended)


def recoveries(history: History) -> list[Recovery]:
    """Where another worker was lost right after the task was queued again, or with a claim of it that had not begun,
    from there: it was to be the next."""
    found = []
    for task_id in history.accepted:
        crashes = 0
        for attempt in attempts(history.of(task_id)):
            lost_ms = _lost_ms(history, attempt)
            crashes += attempt.end == "crash"
            if attempt.end in ("crash", "poison") and lost_ms is not None:
                until_ms = attempt.next_ms if attempt.claims_lost else attempt.ended_ms + RING_MS
                others = [loss.at_ms for loss in history.lost if attempt.ended_ms - RING_MS < loss.at_ms < until_ms]
                since_ms = max([lost_ms, *(at_ms for at_ms in others if at_ms < attempt.next_ms)])
                last = attempt.end == "crash" and crashes == POISON - 1
                found.append(Recovery(task_id, attempt.worker, (attempt.next_ms - since_ms) / 1000, last))
    return found


def _lost_ms(history: History, attempt: Attempt) -> float | None:
    """When its worker was lost while it ran, if it was."""
    lost = [loss.at_ms for loss in history.lost if loss.worker == attempt.worker]
    return next((at_ms for at_ms in lost if attempt.started_ms - FLIGHT_MS <= at_ms <= attempt.ended_ms), None)


ENDS = frozenset({"task_requeued", "task_paused", "approval_required"})


def _attempt(started: Told, ended: Told, following: Told) -> Attempt:
    end = ended.type.removeprefix("task_")
    if ended.type == "task_requeued":
        end = ended["reason"]
    elif ended.type == "task_failed" and ended["kind"] == "poison":
        end = "poison"
    lost = following["attempt"] - started["attempt"] - 1 if following.type == "task_started" else 0
    return Attempt(started["attempt"], started["worker"], started.at_ms, end, ended.at_ms, following.at_ms, lost)
