"""How an engine's run is judged: what the attempt ends with."""

import logging
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from runcast_events.errors import InvalidEvent
from runcast_events.events import ApprovalRequired, Event, TaskFailed
from runcast_events.log import Write
from runcast_worker.attempt.writer import Told
from runcast_worker.engines import EngineError, HandOver
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.toolbox.journal import required_writes

logger = logging.getLogger(__name__)

MESSAGE_CHARS = 2000


class Ending(NamedTuple):
    """The event that an attempt ends with, and what is written with it. `open`: what happens before to what is open: it
    is closed for good, or closed where another attempt takes it up again, or there is nothing. `before`: events that
    are written in one step with the last."""

    event: Event
    writes: Sequence[Write] = ()
    open: Literal["closed", "interrupted", "nothing"] = "closed"
    before: Sequence[Told] = ()


class Verdict:
    """Of one attempt."""

    def __init__(self, redactor: Callable[[], Redactor]) -> None:
        self._redactor = redactor

    def of(self, error: BaseException | None) -> Ending | None:
        """None: the engine came to its end."""
        if error is None:
            return None
        if isinstance(error, HandOver):
            return _handed_over(error)
        if isinstance(error, EngineError):
            ending = self.failure(error.kind, str(error), error.retryable)
            logger.warning("the engine gave up: %s", ending.event.model_dump())
            return ending
        if isinstance(error, InvalidEvent):
            logger.warning("the engine made an event that cannot be written")
            return self.failure("engine", str(error))
        logger.error("the engine failed", exc_info=error)
        return self.failure("engine", f"the engine failed: {type(error).__name__}: {error}"[:MESSAGE_CHARS])

    def failure(self, kind: str, error: str, retryable: bool = False) -> Ending:
        # A message may quote what cannot be written as UTF-8, and a secret.
        said = self._redactor().whole(error.encode(errors="replace").decode())
        return Ending(TaskFailed(error=said, kind=kind, retryable=retryable))


def _handed_over(error: HandOver) -> Ending:
    writes = [] if error.checkpoint is None else [Write("checkpoint", "", error.checkpoint)]
    if isinstance(error.event, ApprovalRequired):
        writes += required_writes(error.event)
    return Ending(error.event, writes, "nothing")
