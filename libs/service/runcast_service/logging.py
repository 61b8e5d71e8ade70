"""Logging: one line an event on stderr, as JSON or, at a terminal, as text. Never payloads, prompts or secrets.

Code logs by the standard library, with what a line is about as `extra`; structlog renders it, libraries' lines as well.
The fields: docs/logs.md.
"""

import logging
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import lru_cache, partial
from importlib.metadata import version
from json import JSONEncoder
from types import TracebackType
from typing import Any, Literal

from structlog import processors
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.stdlib import ExtraAdder
from structlog.typing import EventDict

LogFormat = Literal["auto", "json", "console"]

MAX_CHARS, TRACEBACK_CHARS = 2 * 1024, 8 * 1024
"""Of a field; of a longer one its head and its tail are kept. Container runtimes cut a line at 16 KiB."""
NOISY = ("arq", "asyncio", "httpx2", "mcp", "opentelemetry", "urllib3", "uvicorn.access", "uvicorn.error")
_PASSWORD = re.compile(r"(://[^\s/:@]*):[^\s/@]+@")
_PLAIN = (bool, int, float, type(None))
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Redact = Callable[[Any], Any]
"""Gives back a value of JSON, the same but for its secrets."""


def configure_logging(level: str, service: str, form: LogFormat = "auto") -> None:
    """To be called once, in `__main__`. `service`: the process's name, on every line. `form`: `auto` is text at a
    terminal, else JSON."""
    handler = logging.StreamHandler()
    is_terminal = sys.stderr.isatty()
    handler.setFormatter(LineFormatter(service, "console" if form == "auto" and is_terminal else form, is_terminal))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for noisy in NOISY:
        logging.getLogger(noisy).setLevel("WARNING")
    # What no line shows is not found out: https://docs.python.org/3/howto/logging.html#optimization
    logging._srcfile = None
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    logging.captureWarnings(True)
    sys.excepthook = _last_words


def bound(**fields: str | int) -> AbstractContextManager[None]:
    """Until the block ends, fields of every line that this task, and those it starts, write."""
    return bound_contextvars(**fields)


class LineFormatter(logging.Formatter):
    """Renders one line by structlog's processors. Not its ProcessorFormatter, which also takes structlog's own loggers
    and makes a second record for each line: a gateway writes two of them for every stream. `colors`: of `console`."""

    def __init__(
        self, service: str, form: LogFormat = "json", colors: bool = False, redact: Redact | None = None
    ) -> None:
        super().__init__()
        self._again = partial(LineFormatter, service, form, colors)
        self._processors: Sequence[Callable[..., Any]] = [
            merge_contextvars,
            ExtraAdder(),
            _of_record,
            processors.ExceptionRenderer(_traceback),
            *([] if redact is None else [lambda _, __, fields: redact(fields)]),
            _bounded,
            *(_console(colors) if form == "console" else _json(service)),
        ]

    def format(self, record: logging.LogRecord) -> str:
        fields: Any = {"event": record.getMessage(), "_record": record}
        for process in self._processors:
            fields = process(None, "", fields)
        line: str = fields
        return line

    def redacting(self, redact: Redact) -> "LineFormatter":
        """The same, with a filter for each text as it is before it is quoted."""
        return self._again(redact)


def _of_record(_: object, __: str, fields: EventDict) -> EventDict:
    record: logging.LogRecord = fields.pop("_record")
    fields["timestamp"] = f"{_second(int(record.created))}.{int(record.msecs):03d}Z"
    fields["level"], fields["logger"] = record.levelname.lower(), record.name
    if record.exc_info:
        fields["exc_info"] = record.exc_info
    if record.stack_info:
        fields["stack"] = record.stack_info
    return fields


@lru_cache(maxsize=2)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _json(service: str) -> Sequence[Callable[..., Any]]:
    """All processes are released together, so that one package's version is that of all."""
    constant = {"service": service, "version": version("runcast-service")}

    def ordered(_: object, __: str, fields: EventDict) -> EventDict:
        head = {name: fields.pop(name) for name in ("timestamp", "level")}
        return {**head, "message": fields.pop("event"), "logger": fields.pop("logger"), **constant, **fields}

    # Made once: json.dumps with arguments makes one for each line.
    encode = JSONEncoder(ensure_ascii=False).encode
    return ordered, processors.JSONRenderer(serializer=lambda fields, **_: encode(fields))


def _console(colors: bool) -> Sequence[Callable[..., Any]]:
    def printable(_: object, __: str, fields: EventDict) -> EventDict:
        """What others say must not control the terminal, nor make up lines; a traceback has lines of its own."""
        for name, value in fields.items():
            if isinstance(value, str):
                lines = value.split("\n") if name == "exception" else [value]
                fields[name] = "\n".join(_CONTROL.sub(_escaped, line) for line in lines)
        return fields

    return printable, ConsoleRenderer(colors=colors, exception_formatter=plain_traceback)


def _escaped(control: re.Match[str]) -> str:
    return repr(control[0])[1:-1]


def _traceback(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    return logging.Formatter().formatException(exc_info)


def _bounded(_: object, __: str, fields: EventDict) -> EventDict:
    fields.pop("color_message", None)  # uvicorn's own, for its own formatter
    for name, value in fields.items():
        if type(value) is str:
            most = TRACEBACK_CHARS if name == "exception" else MAX_CHARS
            if len(value) > most or "://" in value:
                fields[name] = _short(value, most)
        elif not isinstance(value, _PLAIN):
            fields[name] = _short(str(value), MAX_CHARS)
    return fields


def _short(text: str, most: int) -> str:
    text = _PASSWORD.sub(r"\1:[secret]@", text)
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {len(text)} characters in all … {text[-most // 2 :]}"


def _last_words(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """What ends the process is a line as well."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, where)
    else:
        logging.getLogger(__name__).critical("the process ends by an error", exc_info=(kind, error, where))
