"""Alerts: each attempt hears of the requests for its task, whoever else of this worker still does."""

import asyncio

from runcast_worker.alerts import Alerts


def test_an_attempt_that_still_stops_does_not_take_the_next_ones_hearing() -> None:
    """A fenced attempt may be stopping while its worker has claimed the task again."""
    alerts, old, new = Alerts(), asyncio.Event(), asyncio.Event()
    with alerts.hearing("default", "s1.a", old):
        with alerts.hearing("default", "s1.a", new):
            alerts._tell(b"default/s1.a")
            assert old.is_set()
            assert new.is_set()
        old.clear()
        alerts._tell(b"default/s1.a")
        assert old.is_set()
    alerts._tell(b"default/s1.a")
    assert not alerts._hearing, "what nobody hears is forgotten"
