"""Logging: one line an event on stderr, `key=value` for what a line is about. Never payloads, prompts or secrets."""

import logging
import logging.config

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "color_message", "taskName"}


class LineFormatter(logging.Formatter):
    """The message, then what was passed as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        extra = " ".join(f"{k}={v}" for k, v in record.__dict__.items() if k not in _STANDARD)
        return f"{line} {extra}" if extra else line


def configure_logging(level: str) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in ("arq", "asyncio", "uvicorn.access", "uvicorn.error", "httpx2", "mcp"):
        logging.getLogger(noisy).setLevel("WARNING")
