"""What can go wrong with an event log. Each class says when; its attributes carry the data."""


class EventsError(Exception):
    """Base of this package's errors."""


class InvalidId(EventsError, ValueError):
    """An id from outside does not have its form."""

    def __init__(self, what: str, got: str, expected: str) -> None:
        super().__init__(f"invalid {what} {got[:80]!r}: expected {expected}")
        self.what, self.got, self.expected = what, got, expected


class InvalidEvent(EventsError, ValueError):
    """An event's type is unknown, its fields do not fit its model, or it cannot be made to fit the size limit."""


class AppendRefused(EventsError):
    """The append script refused the batch; nothing of it was written."""


class Gone(AppendRefused):
    """No such task or session. `deleted`: there is a tombstone, so it must not be made again."""

    def __init__(self, deleted: bool) -> None:
        super().__init__("the session was deleted" if deleted else "no such task or session in the store")
        self.deleted = deleted


class Fenced(AppendRefused):
    """Another attempt holds the task: this one must stop at once, end its tools and write nothing."""

    def __init__(self, holder: str) -> None:
        super().__init__(f"another attempt holds the task (fence {holder})")
        self.holder = holder


class Rewound(AppendRefused):
    """The store lost its tail: of this attempt it knows sequence `known` at most. `found`: the fence and sequence that
    the record has; `fence_known`: the fence is this attempt's."""

    def __init__(self, known: int, found: tuple[str, str], fence_known: bool) -> None:
        super().__init__(f"the store lost its tail; it knows this attempt up to sequence {known}")
        self.known, self.found, self.fence_known = known, found, fence_known


class AlreadyTerminal(AppendRefused):
    """The task has its terminal event; nothing of it follows."""

    def __init__(self, state: str) -> None:
        super().__init__(f"the task has ended: {state}")
        self.state = state


class IllegalMove(AppendRefused):
    """The state table (or the caller's set of legal states) does not allow this event now."""

    def __init__(self, state: str, event_type: str) -> None:
        super().__init__(f"{event_type or 'the event'} is not allowed while the task is {state or 'not there'}")
        self.state, self.event_type = state, event_type


class PublisherClosed(EventsError):
    """publish() after close(), or close() before everything was acknowledged."""


class BrokenLog(EventsError):
    """The store has something else in the place of a log."""

    def __init__(self, log: str) -> None:
        super().__init__(f"{log} is not an event log")
        self.log = log
