"""What this process logs is filtered too, each line as a whole: a library's own errors may quote a secret. Of our own
lines each text is filtered before as well, which JSON would quote once more."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from runcast_service.logging import LineFormatter
from runcast_worker.secrets.redaction import Redactor


class _Redacting(logging.Formatter):
    def __init__(self, inner: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._inner = inner.redacting(redactor.value) if isinstance(inner, LineFormatter) else inner
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.whole(self._inner.format(record))


@contextmanager
def redacted_logging(redactor: Redactor) -> Iterator[None]:
    """For the handlers that the process has now, until the block ends."""
    before = [(handler, handler.formatter) for handler in logging.getLogger().handlers]
    for handler, formatter in before:
        handler.setFormatter(_Redacting(formatter or logging.Formatter(), redactor))
    try:
        yield
    finally:
        for handler, formatter in before:
            handler.setFormatter(formatter)
