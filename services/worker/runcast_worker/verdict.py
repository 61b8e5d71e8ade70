"""How an engine's run is judged: what the attempt ends with."""

import logging
from collections.abc import Callable, Mapping

from runcast_events.errors import InvalidEvent
from runcast_events.events import Event, TaskFailed, TaskRequeued
from runcast_worker.engines import EngineError
from runcast_worker.redaction import Redactor

logger = logging.getLogger(__name__)

MESSAGE_CHARS = 2000


class HandOver(Exception):
    """The worker drains, and the engine has come to a place from where another can go on."""


class Verdict:
    """Of one attempt. `about`: what logging tells of it."""

    def __init__(self, redactor: Callable[[], Redactor], about: Mapping[str, object]) -> None:
        self._redactor, self._about = redactor, about

    def of(self, error: BaseException | None) -> Event | None:
        """The event that ends the attempt. None: the engine came to its end."""
        if error is None:
            return None
        if isinstance(error, HandOver):
            return TaskRequeued(reason="drain")
        if isinstance(error, EngineError):
            logger.warning("the engine gave up: %s", error.kind, extra=self._about)
            return self.failure(error.kind, str(error), error.retryable)
        if isinstance(error, InvalidEvent):
            logger.warning("the engine made an event that cannot be written", extra=self._about)
            return self.failure("engine", str(error))
        logger.error("the engine failed", exc_info=error, extra=self._about)
        return self.failure("engine", f"the engine failed: {type(error).__name__}: {error}"[:MESSAGE_CHARS])

    def failure(self, kind: str, error: str, retryable: bool = False) -> TaskFailed:
        # A message may quote what cannot be written as UTF-8, and a secret.
        said = self._redactor().whole(error.encode(errors="replace").decode())
        return TaskFailed(error=said, kind=kind, retryable=retryable)
