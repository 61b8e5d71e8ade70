"""The span of a request: what it asks for leads to is in the caller's trace, or in one that begins here."""

from starlette.types import ASGIApp, Receive, Scope, Send

from runcast_service.access_log import QUIET
from runcast_service.answered import Answered
from runcast_service.traceparent import read_traceparent
from runcast_service.tracing import Tracer, enter


class RequestSpans:
    """ASGI middleware. No query, no header and no body is an attribute."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in QUIET:
            await self._app(scope, receive, send)
            return
        tracer: Tracer = scope["state"]["tracer"]
        method, answered = scope["method"], Answered(send)
        parent = read_traceparent(scope["headers"])
        span = tracer.span(method, parent, {"http.request.method": method}, "server")
        enter(span)
        try:
            await self._app(scope, receive, answered)
        except BaseException as error:
            span.fail(type(error).__name__)
            raise
        finally:
            if (route := getattr(scope.get("route"), "path", None)) is not None:
                span.name(f"{method} {route}")
                span.set({"http.route": route})
            span.set({"http.response.status_code": answered.status})
            if answered.status >= 500:
                span.fail(str(answered.status))
            span.end()
