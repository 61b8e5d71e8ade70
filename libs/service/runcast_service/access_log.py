"""The access log: a line for each request when it is answered. Never its query, which may hold a credential."""

import logging
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runcast_service.answered import Answered
from runcast_service.request_id import HEADER, enter_request

logger = logging.getLogger(__name__)

QUIET = frozenset({"/health"})
"""Asked every few seconds for as long as the process lives: DEBUG."""


class AccessLog:
    """ASGI middleware, to be added last: names the request, gives the name back as X-Request-Id, and logs its end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, answered = perf_counter(), Answered(send)
        request_id = enter_request(scope["headers"])

        async def naming(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), (HEADER, request_id.encode())]}
            await answered(message)

        try:
            await self._app(scope, receive, naming)
        finally:
            log_access(scope, answered.status, began, getattr(scope.get("route"), "path", None))


def log_access(scope: Scope, status: int, began: float, route: str | None = None) -> None:
    """`began`: by perf_counter. `route`: the template of the path; None: it has none."""
    path = scope["path"]
    level = logging.DEBUG if path in QUIET else logging.INFO if status < 500 else logging.WARNING
    if logger.isEnabledFor(level):
        method, took_s = scope.get("method", "WEBSOCKET"), round(perf_counter() - began, 6)
        about = {"method": method, "path": path, "route": route, "status": status, "duration_s": took_s}
        logger.log(level, "%s %s: %d", method, route or path, status, extra=about)
