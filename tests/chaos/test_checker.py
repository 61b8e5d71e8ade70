"""The checks find what they are there to find: a history that is as it must be passes, each doctored one fails."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from runcast_events.entry import Entry
from runcast_events.ids import START, EventId
from tests.chaos.checker import check, recoveries
from tests.chaos.recording import History, Lapse, Loss, Request
from tests.history import Seen

TASK, NEXT = "s1.aaaaaaaaaa", "s1.bbbbbbbbbb"


@dataclass
class Line:
    """An event before it has its id. `fence` 0: a control append's, which is a writer of its own."""

    type: str
    at_ms: int
    fence: int
    fields: dict[str, Any]
    task_id: str = TASK


@dataclass
class Story:
    """A history in the making: a task whose first worker is lost in the midst of an answer, then one that follows."""

    lines: list[Line] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    effects: dict[tuple[str, str], int] = field(default_factory=dict)
    lost: list[Loss] = field(default_factory=list)
    lapsed: list[Lapse] = field(default_factory=list)
    accepted: list[str] = field(default_factory=lambda: [TASK, NEXT])

    def add(self, kind: str, at_ms: int, fence: int, task_id: str = TASK, **fields: Any) -> None:
        self.lines.append(Line(kind, at_ms, fence, fields, task_id))

    def find(self, kind: str, nth: int = 0, **fields: Any) -> Line:
        wanted = [each for each in self.lines if each.type == kind and fields.items() <= each.fields.items()]
        return wanted[nth]

    def again(self, line: Line) -> None:
        """The event comes twice, one right after the other."""
        self.lines.insert(self.lines.index(line), replace(line))

    def drop(self, line: Line) -> None:
        self.lines.remove(line)

    def told(self) -> History:
        log, last, writer, fence = [], START, -1, 0
        for line in self.lines:
            opens = line.fence != writer or line.fence == 0
            at = EventId(max(line.at_ms, last.epoch + 1), 1) if opens else EventId(last.epoch, last.n + 1)
            fence = line.fence or fence  # a control append bears the session's
            payload = json.dumps({"event_type": line.type, "task_id": line.task_id, **line.fields}).encode()
            log.append(Entry(at, line.type, line.task_id, fence, line.at_ms, 0, last if opens else None, payload))
            last, writer = at, line.fence
        seen = [Seen(entry.id, entry.payload) for entry in log]
        return History(
            {"s1": log}, self.accepted, self.lost, self.lapsed, self.requests, self.effects, {"s1": seen}, 3.0
        )


def story() -> Story:
    """As it must be."""
    made = Story()
    add = made.add
    for number, task_id in enumerate((TASK, NEXT)):
        add("task_queued", number, 0, task_id)
    add("task_started", 10, 1, attempt=1, worker="w1")
    add("iteration_start", 11, 1, iteration=1)
    made.requests.append(Request(TASK, 1, 12))
    add("output_start", 20, 1, iteration=1, part_id="o1")
    add("output", 21, 1, iteration=1, part_id="o1", delta="hal", offset=0)
    made.lost.append(Loss("w1", 1000))
    add("task_requeued", 4000, 0, reason="crash")
    add("task_started", 4100, 2, attempt=2, worker="w2")
    add("iteration_reset", 4101, 2, iteration=1)
    add("iteration_start", 4102, 2, iteration=1)
    made.requests.append(Request(TASK, 1, 4103))
    add("output_start", 4110, 2, iteration=1, part_id="o1a2")
    add("output", 4111, 2, iteration=1, part_id="o1a2", delta="who", offset=0)
    add("output", 4112, 2, iteration=1, part_id="o1a2", delta="le", offset=3)
    add("token_usage", 4113, 2, iteration=1, input=10, output=5, cached=1)
    add("output_complete", 4114, 2, iteration=1, part_id="o1a2", content="whole")
    for index, call_id in enumerate(("1.0", "1.1")):
        add("tool_call_start", 4120 + index, 2, iteration=1, tool_call_id=call_id, tool_name="shell")
    add("tool_call_complete", 4200, 2, tool_call_id="1.0", tool_name="shell", result={"exit_code": 0})
    made.effects[TASK, "1.0"] = 1
    add("tool_call_complete", 4201, 2, tool_call_id="1.1", tool_name="shell", error={"code": "interrupted"})
    add("iteration_complete", 4202, 2, iteration=1)
    add("iteration_start", 4203, 2, iteration=2)
    made.requests.append(Request(TASK, 2, 4204))
    add("token_usage", 4300, 2, iteration=2, input=20, output=5)
    add("iteration_complete", 4301, 2, iteration=2)
    add("task_complete", 4302, 2, usage={"input": 30, "output": 10, "cached": 1})
    add("task_started", 4310, 3, NEXT, attempt=1, worker="w2")
    add("task_complete", 4320, 3, NEXT, usage={"input": 0, "output": 0, "cached": 0})
    return made


def test_a_history_that_is_as_it_must_be_passes() -> None:
    history = story().told()
    check(history)
    assert [(each.worker, each.seconds) for each in recoveries(history)] == [("w1", 3.1)]


def test_a_worker_that_stood_still_is_no_loss_and_counts() -> None:
    """The task is taken from it as from a lost one; how long that takes is nobody's guarantee."""
    made = story()
    made.lost.clear()
    made.lapsed.append(Lapse("w1", TASK))
    check(made.told())


def test_a_start_that_was_on_its_way_when_its_worker_was_lost_is_that_workers() -> None:
    made = story()
    made.lost = [Loss("w1", 8)]
    made.drop(made.find("output", part_id="o1"))
    check(made.told())


def late(made: Story) -> None:
    """Six seconds after the loss."""
    for line in made.lines:
        if line.at_ms >= 4000:
            line.at_ms += 3000
    made.requests = [replace(each, at_ms=each.at_ms + 3000 * (each.at_ms > 4000)) for each in made.requests]


def before_its_time(made: Story) -> None:
    """The worker is lost only when its task has been taken from it."""
    made.lost = [Loss("w1", 4050)]


def claimed_in_vain(made: Story) -> None:
    """The second task was claimed by the worker that was lost, and begins long after."""
    for line in made.lines:
        if line.task_id == NEXT and line.at_ms > 4000:
            line.at_ms += 3000
    made.find("task_started", attempt=1, worker="w2").fields["attempt"] = 2


def zombie(made: Story) -> None:
    """The first worker writes once more when the second has begun."""
    line = made.find("output", part_id="o1")
    made.drop(line)
    made.lines.insert(made.lines.index(made.find("output", part_id="o1a2")), line)


def poisoned_early(made: Story) -> None:
    """After one crash."""
    at = made.lines.index(made.find("task_requeued"))
    del made.lines[at : made.lines.index(made.find("task_complete")) + 1]
    made.lines.insert(at, Line("task_failed", 4000, 0, {"kind": "poison"}))
    made.find("output").type = "progress"
    made.drop(made.find("output_start"))
    made.effects.clear()
    made.requests = made.requests[:1]


def out_of_order(made: Story) -> None:
    """The one behind runs first."""
    queued = [made.find("task_queued", 0), made.find("task_queued", 1)]
    behind = [line for line in made.lines if line.task_id == NEXT and line not in queued]
    made.lines = [*queued, *behind, *(line for line in made.lines if line not in [*queued, *behind])]
    for line in behind:
        line.fence, line.at_ms = 1, 5
    for line in made.lines[len(queued) + len(behind) :]:
        line.fence += line.fence > 0


def at_once(made: Story) -> None:
    """The one behind begins while the first one runs."""
    line = made.find("task_started", attempt=1, worker="w2")
    made.drop(line)
    made.lines.insert(made.lines.index(made.find("iteration_complete", iteration=2)), line)
    line.fence = 2


DOCTORED: dict[str, tuple[Callable[[Story], object], str]] = {
    "a request after the answer was acknowledged": (
        lambda made: made.requests.append(Request(TASK, 1, 4125)),
        "asked for again",
    ),
    "two requests by one attempt": (lambda made: made.requests.append(Request(TASK, 2, 4205)), "twice by one attempt"),
    "a call made twice": (lambda made: made.effects.update({(TASK, "1.0"): 2}), "made 2 times"),
    "a call that ended and was not made": (lambda made: made.effects.clear(), "made 0 times"),
    "an interrupted call made twice": (lambda made: made.effects.update({(TASK, "1.1"): 2}), "made 2 times"),
    "an effect of no call": (lambda made: made.effects.update({(TASK, "7.0"): 1}), "no log tells of"),
    "a call that begins twice": (lambda made: made.again(made.find("tool_call_start")), "began twice"),
    "a call that ends twice": (lambda made: made.again(made.find("tool_call_complete")), "ended twice"),
    "a call without an end": (lambda made: made.drop(made.find("tool_call_complete", 1)), "without an end"),
    "a part that stays open": (lambda made: made.drop(made.find("iteration_reset")), "open parts"),
    "a part opened twice": (lambda made: made.again(made.find("output_start", 1)), "opened twice"),
    "a part with a hole": (lambda made: made.drop(made.find("output", 1)), "a hole"),
    "a part that ends as another": (
        lambda made: made.find("output_complete").fields.update(content="other"),
        "is another",
    ),
    "a part that goes on after its end": (lambda made: made.again(made.find("output_complete")), "is not open"),
    "usage of one attempt only": (
        lambda made: made.find("task_complete").fields["usage"].update(input=20),
        "add up to 30",
    ),
    "a crash of a worker that lives": (lambda made: made.lost.clear(), "was not lost"),
    "a crash before the worker's": (before_its_time, "was not lost by then"),
    "poison after one crash": (poisoned_early, "poison after 1"),
    "a late recovery": (late, "too late"),
    "a claim that is recovered late": (claimed_in_vain, "claimed, and begins too late"),
    "events of a zombie": (zombie, "interleave"),
    "an event after the end": (
        lambda made: made.lines.insert(
            made.lines.index(made.find("task_complete")) + 1, Line("progress", 4303, 2, {}, TASK)
        ),
        "illegal",
    ),
    "a task without an end": (lambda made: made.drop(made.find("task_complete", 1)), "without an end"),
    "a task that is not in the log": (lambda made: made.accepted.append("s1.cccccccccc"), "terminal events"),
    "a session's tasks out of order": (out_of_order, "instead of"),
    "two tasks of a session at once": (at_once, "had not ended"),
}


@pytest.mark.parametrize("what", DOCTORED)
def test_a_doctored_history_fails(what: str) -> None:
    doctor, said = DOCTORED[what]
    made = story()
    doctor(made)
    with pytest.raises(AssertionError, match=said):
        check(made.told())


def test_a_log_with_a_hole_fails() -> None:
    history = story().told()
    log = list(history.logs["s1"])
    del log[6]
    with pytest.raises(AssertionError, match="does not follow"):
        check(replace(history, logs={"s1": log}))


def test_a_reader_that_was_not_shown_an_event_fails() -> None:
    history = story().told()
    with pytest.raises(AssertionError, match="without a gap"):
        check(replace(history, seen={"s1": [*history.seen["s1"][:5], *history.seen["s1"][6:]]}))
