"""The id of a request, by which its answer, its problem document and its log lines are found."""

import re
import secrets
from collections.abc import Iterable

from structlog.contextvars import bind_contextvars, get_contextvars

HEADER = b"x-request-id"
_SANE = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def enter_request(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The id that a proxy gave, if it is one, else a new one. Lines of this request have it from here on, also the
    server's own: it is never unbound, since a server runs each request in a task, which has a context of its own."""
    given = next((value for name, value in headers if name == HEADER), b"")
    request_id = given.decode() if _SANE.fullmatch(given) else secrets.token_hex(8)
    bind_contextvars(request_id=request_id)
    return request_id


def current_request_id() -> str:
    """Empty outside of a request."""
    return str(get_contextvars().get("request_id", ""))
