"""What a call came to, as its last event tells it: bounded, filtered, and said where it is not the whole."""

import asyncio
import json
import logging
import traceback
from typing import Any

from pydantic import JsonValue

from runcast_events.events import ToolError
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.tools import RESULT_BYTES, ToolFailed
from runcast_worker.tools.excerpt import excerpt, json_bytes, shorten, writable

logger = logging.getLogger(__name__)

MESSAGE_BYTES = 16 * 1024
"""Of an error's message at most this much is told, as JSON: its head and its tail."""
INTERNAL = ToolFailed("internal", "the tool failed by an error of ours; it was logged")


def told_result(result: JsonValue) -> tuple[dict[str, Any], bytes | None]:
    """What is told of a result, and the whole where that is not all of it."""
    size = json_bytes(result)
    if size <= RESULT_BYTES:
        return {"result": result}, None
    is_text = isinstance(result, str)
    text = result if isinstance(result, str) else json.dumps(result, ensure_ascii=False)
    whole = text.encode()
    said = f"{len(whole)} bytes {'' if is_text else 'of JSON '}in all; the middle is left out"
    return {"result": excerpt(text, text, said, RESULT_BYTES)}, whole


def told_internal(name: str, error: BaseException, redactor: Redactor) -> ToolError:
    """Logged. Raises the error itself where it is how this task is stopped, and not the tool's own."""
    task = asyncio.current_task()
    if task is not None and task.cancelling() and not isinstance(error, Exception):
        raise error
    lines = redactor.whole("".join(traceback.format_exception(error)))
    logger.error("the tool %s failed by an error of ours\n%s", redactor.whole(name), lines)
    return told_error(INTERNAL, redactor)


def told_error(failed: ToolFailed, redactor: Redactor) -> ToolError:
    """With as much of the message's head and tail as an event has room for."""
    return ToolError(code=failed.code, message=shorten(redactor.whole(writable(failed.message)), MESSAGE_BYTES))


def as_text(arguments: dict[str, JsonValue]) -> str:
    try:
        return writable(repr(arguments))
    except RecursionError:
        return "{"
