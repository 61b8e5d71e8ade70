"""ring.py: against a model that remembers everything."""

from hypothesis import given
from hypothesis import strategies as st

from runcast_events.codec import Encoded
from runcast_events.ring import Ring

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 60)),
        st.tuples(st.just("push two together"), st.integers(0, 60)),
        st.tuples(st.just("acknowledge"), st.integers(1, 4)),
        st.tuples(st.just("rewind"), st.integers(0, 40)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(0, 200))
def test_every_sequence_is_sent_again_or_said_to_be_lost(steps: list[tuple[str, int]], keep_bytes: int) -> None:
    """After a rewind what the store lacks waits again, in order, with one stand-in for what was dropped. Bytes
    are counted right throughout, and of acknowledged ones no more is kept than allowed."""
    ring, contents = Ring(keep_bytes, keep_s=100), {}
    for now, (step, number) in enumerate(steps, 1):
        if step.startswith("push"):
            together = step == "push two together"
            for joined in (True, False) if together else (False,):
                item = ring.push(Encoded("output", b"x" * number), joined=joined)
                contents[item.sequence] = item.event
        elif step == "acknowledge" and ring.waiting:
            batch = ring.batch(number, 100)
            assert not batch[-1].joined
            ring.acknowledge(batch, float(now))
        elif step == "rewind" and number <= ring.acknowledged:
            stand_in = Encoded("log_lost", b"lost")
            lost = ring.lost(number)
            known = ring.rewind(number, stand_in if lost else None)
            if lost:
                assert lost[0] == number + 1
                assert known == lost[1] - 1
                contents[lost[1]] = stand_in
            else:
                assert known == number
        waiting = ring.batch(10**6, 10**9)
        assert [item.sequence for item in waiting] == list(range(ring.acknowledged + 1, ring.last + 1))
        assert all(contents[item.sequence] == item.event for item in waiting)
        assert ring.waiting_bytes == sum(item.size for item in waiting)
        kept = [item for item in ring._items if item.acknowledged_at]
        assert ring._kept_bytes == sum(item.size for item in kept) <= max(0, keep_bytes)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20), st.integers(1, 5), st.integers(0, 100))
def test_a_batch_is_the_oldest_within_its_bounds(sizes: list[int], events: int, size: int) -> None:
    """And never empty, or a large event would never be sent."""
    ring = Ring(0, 0)
    for each in sizes:
        ring.push(Encoded("output", b"x" * each))
    batch = ring.batch(events, size)
    assert [item.sequence for item in batch] == list(range(1, len(batch) + 1))
    assert 1 <= len(batch) <= events
    assert len(batch) == 1 or sum(item.size for item in batch) <= size


def test_what_is_old_is_dropped() -> None:
    """By time as well as by bytes."""
    ring = Ring(10**6, keep_s=5)
    for now in (1.0, 4.0, 8.0):
        ring.push(Encoded("output", b"x"))
        ring.acknowledge(ring.batch(1, 1), now)
    assert ring.lost(0) == (1, 1)
    assert ring.lost(1) is None
