"""Who is told of what a process appends: its metrics."""

from collections.abc import Sequence
from typing import Protocol

from runcast_events.answer import Appended
from runcast_events.codec import Encoded
from runcast_events.errors import EventsError


class AppendObserver(Protocol):
    def appended(self, batch: Sequence[Encoded], answer: Appended, seconds: float, *, checkpoint: bool) -> None:
        """The log has this batch; `seconds`: of the call that said so."""
        ...

    def refused(self, error: EventsError) -> None:
        """Nothing was written."""
        ...


class Unobserved:
    """An observer for whom nobody listens."""

    def appended(self, batch: Sequence[Encoded], answer: Appended, seconds: float, *, checkpoint: bool) -> None:
        pass

    def refused(self, error: EventsError) -> None:
        pass
