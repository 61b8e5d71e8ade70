"""The streams over HTTP: authorise, read what is asked, answer with a stream or say why not.

Plain ASGI: a route of FastAPI costs more per connect than everything that happens here.
"""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from time import perf_counter

from redis.exceptions import RedisError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runcast_gateway.dialects import sse
from runcast_gateway.routes.cursor import check_query
from runcast_gateway.routes.start import (
    STORE_S,
    Asked,
    Start,
    admit,
    connected,
    enter,
    jittered,
    read_query,
    start,
    unavailable,
)
from runcast_gateway.state import State
from runcast_gateway.transports.asgi import AsgiTransport, run_response
from runcast_gateway.transports.framing import PLAIN
from runcast_gateway.transports.gzip import GzipTransport, asks_for_gzip
from runcast_gateway.transports.handover import HANDOVER, Handover
from runcast_service.access_log import log_access
from runcast_service.problem import Problem
from runcast_service.request_id import HEADER, current_request_id, enter_request
from runcast_service.tracing import follow

HEADERS = {
    "content-type": sse.CONTENT_TYPE,
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "connection": "close",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
_GZIPPED = [(b"content-encoding", b"gzip"), (b"vary", b"accept-encoding")]

TASK_QUERY = frozenset({"last_event_id", "types"})
SESSION_QUERY = TASK_QUERY | {"task_id"}
OVERLOAD_RETRY_MS = 5000


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """GET or HEAD of `/stream/sessions/{id}` or `/stream/tasks/{id}`."""
    began, request_id = perf_counter(), enter_request(scope["headers"]).encode()
    follow(scope["headers"])
    try:
        response = await _answer(scope, receive, send)
    except Problem as problem:
        response = problem.response()
    if response is not None:
        response.raw_headers.append((HEADER, request_id))
        await response(scope, receive, send)
        log_access(scope, response.status_code, began)


async def _answer(scope: Scope, receive: Receive, send: Send) -> Response | None:
    """An answer that is no stream; None where there was a stream. What is held is given back, or becomes its own."""
    state: State = scope["state"]
    if scope["method"] not in ("GET", "HEAD"):
        raise Problem(405, "method_not_allowed", "expected GET or HEAD", headers={"Allow": "GET, HEAD"})
    headers = dict(scope["headers"])
    if state["connections"].draining:
        return _come_back(state["settings"].retry_ms)
    with ExitStack() as held:
        try:
            principal = admit(state, scope, held)
        except Problem:
            if _is_event_source(headers):
                return _come_back(OVERLOAD_RETRY_MS)
            raise
        try:
            async with asyncio.timeout(STORE_S):
                begun = await start(state, _asked(scope, headers), held)
        except (RedisError, OSError):  # TimeoutError is an OSError
            return _unavailable(state, headers)
        if begun.over:
            return Response(status_code=204)
        if scope["method"] == "HEAD":  # headers only: a stream would never end
            answer = Response(headers=HEADERS)
            del answer.headers["content-length"]
            return answer
        gzip = state["settings"].gzip and asks_for_gzip(headers.get(b"accept-encoding", b""))
        await _open(state, begun, principal, held, gzip, scope, receive, send)
    return None


def _asked(scope: Scope, headers: Mapping[bytes, bytes]) -> Asked:
    """Raises Problem."""
    _, _, kinds, name = scope["path"].split("/")
    query = read_query(scope)
    check_query(query, SESSION_QUERY if kinds == "sessions" else TASK_QUERY)
    return Asked("session" if kinds == "sessions" else "task", name, query, headers.get(b"last-event-id"))


async def _open(
    state: State, begun: Start, principal: str, held: ExitStack, gzip: bool, scope: Scope, receive: Receive, send: Send
) -> None:
    """From the response start on."""
    handover: Handover | None = (scope.get("extensions") or {}).get(HANDOVER)
    if handover is not None:
        handover.prepare()
    headers = [*_RAW_HEADERS, *_GZIPPED * gzip, (HEADER, current_request_id().encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    if handover is not None and handover.left:
        return
    framing = handover.framing if handover is not None else None
    connection = enter(state, begun, framing if framing is not None and not gzip else PLAIN, principal, held)
    first = connected(state, begun)
    if handover is not None and framing is not None:
        transport = handover.take(connection)
        connection.open(GzipTransport(transport, framing) if gzip else transport, first, handed_over=True)
        return

    async def write(data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})

    through_send = AsgiTransport(connection, write)
    connection.open(GzipTransport(through_send, PLAIN) if gzip else through_send, first)
    await run_response(connection, through_send, receive, send)


def _unavailable(state: State, headers: Mapping[bytes, bytes]) -> Response:
    """The store does not answer. EventSource gives up for good on a 503, so it is asked to come back instead."""
    if _is_event_source(headers):
        return _come_back(state["settings"].retry_ms)
    raise unavailable()


def _is_event_source(headers: Mapping[bytes, bytes]) -> bool:
    return b"text/event-stream" in headers.get(b"accept", b"")


def _come_back(retry_ms: int) -> Response:
    return Response(f"retry: {jittered(retry_ms)}\n\n", headers=HEADERS)
