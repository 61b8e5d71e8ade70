"""Lines as a process writes them: an object each, complete, bounded, and without what must not be told."""

import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import pytest

from runcast_service.logging import MAX_CHARS, TRACEBACK_CHARS, LineFormatter, LogFormat, bound
from tests.loglines import parsed


class Lines(logging.Handler):
    """A logger's lines."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


logger = logging.getLogger("tests.somebody")


@pytest.fixture
def handler(request: pytest.FixtureRequest) -> Iterator[Lines]:
    form: LogFormat = getattr(request, "param", "json")
    handler = Lines(LineFormatter("api", form))
    logger.addHandler(handler)
    logger.setLevel("INFO")
    yield handler
    logger.removeHandler(handler)
    logger.setLevel("NOTSET")


def test_a_line_is_an_object_with_who_what_and_what_it_is_about(handler: Lines) -> None:
    """`extra` is part of it as fields, and so is what the task is bound to; the nearer word wins."""
    with bound(task_id="s1.a", attempt=1):
        logger.info("%s begins", "it", extra={"attempt": 2, "lost": None, "names": ["a", "b"]})
    logger.warning("later")
    first, second = parsed(handler.lines)
    assert first["timestamp"].endswith("Z")
    del first["timestamp"], first["version"]
    assert first == {
        "level": "info",
        "message": "it begins",
        "logger": "tests.somebody",
        "service": "api",
        "task_id": "s1.a",
        "attempt": 2,
        "lost": None,
        "names": "['a', 'b']",
    }
    assert "task_id" not in second


def test_a_traceback_is_one_field_of_one_line(handler: Lines) -> None:
    """With its line ends, also of an exception group; and bounded, with its head and its tail."""
    try:
        raise ExceptionGroup("two", [ValueError("first"), OSError("x" * 100_000)])
    except ExceptionGroup:
        logger.exception("it failed")
    (line,) = handler.lines
    assert "\n" not in line
    exception = parsed(handler.lines)[0]["exception"]
    assert exception.startswith("  + Exception Group Traceback (most recent call last):\n")
    assert "ValueError: first" in exception
    assert exception.endswith("------------------------------------")
    assert TRACEBACK_CHARS < len(exception) < TRACEBACK_CHARS + 100


def test_no_field_is_longer_than_it_may_be(handler: Lines) -> None:
    """Whatever somebody sent."""
    logger.info("%s", "a" * 10**6, extra={"path": "/" + "b" * 10**6, "what": {"c": "d" * 10**6}})
    (fields,) = parsed(handler.lines)
    assert max(len(str(value)) for value in fields.values()) < MAX_CHARS + 100
    assert "1000000 characters in all" in fields["message"]


def test_no_password_of_a_url_is_in_a_line(handler: Lines) -> None:
    """In whatever field it stands."""
    url = "redis://user:hunter2hunter2@host:6379/0"
    try:
        raise ConnectionError(f"no answer of {url}")
    except ConnectionError:
        logger.exception("asked %s", url, extra={"url": url, "urls": [url]})
    (line,) = handler.lines
    assert "hunter2" not in line
    assert line.count("redis://user:[secret]@host:6379/0") == 4


@pytest.mark.parametrize("handler", ["console"], indirect=True)
def test_nothing_that_others_say_controls_a_terminal_or_makes_up_a_line(handler: Lines) -> None:
    """Control characters are shown as escapes."""
    logger.info("asked for %s", "a\x1b[2J\r\n2026 [info] fake\x9b", extra={"path": "/\x00\u2028b"})
    (line,) = handler.lines
    assert line.isprintable()
    assert r"a\x1b[2J\r\n2026 [info] fake\x9b" in line


PROGRAM = """
import asyncio, logging, sys, warnings
from runcast_service.logging import configure_logging
configure_logging("INFO", "model", sys.argv[1])
logging.getLogger("uvicorn.error").warning("a server's own word", extra={"color_message": "\\x1b[1m"})
warnings.warn("an old name")
raise ValueError("the end")
"""


@pytest.mark.parametrize("form", ["auto", "json"])
def test_all_that_a_process_says_on_stderr_is_lines(form: str) -> None:
    """Libraries' lines, warnings of Python, and the error that ends it."""
    ran = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, timeout=20, check=False)
    server, warning, end = parsed(ran.stderr.splitlines())
    assert (server["message"], "color_message" in server) == ("a server's own word", False)
    assert (warning["logger"], warning["level"]) == ("py.warnings", "warning")
    assert (end["level"], end["exception"].splitlines()[-1]) == ("critical", "ValueError: the end")
    assert {each["service"] for each in (server, warning, end)} == {"model"}


@pytest.mark.parametrize(("form", "is_json"), [("auto", False), ("json", True)])
def test_at_a_terminal_lines_are_for_people(form: str, is_json: bool) -> None:
    """Unless a setting says otherwise."""
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        subprocess.run([sys.executable, "-c", PROGRAM, form], stderr=theirs, timeout=20, check=False)
        os.close(theirs)
        first = terminal.read(65536).decode().splitlines()[0]
    assert ("\x1b[" in first) is not is_json
    if is_json:
        assert json.loads(first)["message"] == "a server's own word"
