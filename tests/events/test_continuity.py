"""continuity.py: gaps are told from ids alone, and only where there is one."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from runcast_events.continuity import follows, gap_before, predecessor
from runcast_events.entry import Entry
from runcast_events.ids import START, EventId


def make_log(epochs: list[tuple[int, int]]) -> list[Entry]:
    """A whole log: for each (step, size) an epoch `step` above the last one with `size` entries."""
    log: list[Entry] = []
    cursor, epoch = START, 1000
    for step, size in epochs:
        epoch += step
        for n in range(1, size + 1):
            event_id = EventId(epoch, n)
            log.append(Entry(event_id, "output", "s.aaaaaaaaaa", 1, 0, 0, cursor if n == 1 else None, b"{}"))
            cursor = event_id
    return log


LOGS = st.lists(st.tuples(st.integers(1, 5), st.integers(1, 6)), min_size=1, max_size=6).map(make_log)


@given(LOGS)
def test_every_entry_of_a_whole_log_follows_the_one_before(log: list[Entry]) -> None:
    """From the first one, which follows the start, to the last."""
    cursor = START
    for entry in log:
        assert follows(cursor, entry.id, entry.prev)
        assert predecessor(entry) == cursor
        cursor = entry.id


@given(LOGS, st.data())
def test_nothing_else_follows(log: list[Entry], data: st.DataObject) -> None:
    """Of all entries exactly one follows a cursor: skipping or repeating any is seen."""
    ids = [START, *(entry.id for entry in log)]
    position = data.draw(st.integers(0, len(ids) - 1))
    following = [entry.id for entry in log if follows(ids[position], entry.id, entry.prev)]
    assert following == ids[position + 1 : position + 2]


@given(LOGS, st.data())
def test_after_a_gap_the_entry_follows(log: list[Entry], data: st.DataObject) -> None:
    """`to` is where the stream stands after the gap: the shown entry is the next one from there."""
    cursor = data.draw(st.sampled_from([START, *(entry.id for entry in log)]))
    later = [entry for entry in log if entry.id > cursor]
    if len(later) < 2:
        return
    gap = gap_before(cursor, later[1])
    assert gap.reason == "trimmed"
    assert follows(gap.to, later[1].id, later[1].prev)


@given(LOGS, st.integers(1, 9))
def test_a_rollback_is_seen_from_prev(log: list[Entry], beyond: int) -> None:
    """A reader that saw more than the store kept meets an epoch whose `prev` is below its cursor."""
    last = log[-1].id
    cursor = EventId(last.epoch, last.n + beyond)
    newer = replace(log[-1], id=EventId(last.epoch + 1, 1), prev=last)
    assert not follows(cursor, newer.id, newer.prev)
    gap = gap_before(cursor, newer)
    assert (gap.reason, gap.since, gap.to) == ("rewound", cursor, last)
