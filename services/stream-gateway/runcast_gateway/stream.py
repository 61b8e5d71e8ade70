"""The streams over HTTP: authorise, read what is asked, answer with a stream or say why not.

Plain ASGI: a route of FastAPI costs more per connect than everything that happens here.
"""

import asyncio
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from redis.exceptions import RedisError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runcast_events.channel import Channel
from runcast_events.errors import BrokenLog, InvalidId
from runcast_events.ids import DEFAULT_TENANT, EventId, check_session_id, session_of
from runcast_events.keys import SessionKeys
from runcast_gateway import sse
from runcast_gateway.cursor import EVERYTHING, Filter, check_query, parse_cursor, parse_filter
from runcast_gateway.state import State
from runcast_gateway.target import Target
from runcast_gateway.transports.asgi import AsgiTransport, run_response
from runcast_gateway.transports.framing import PLAIN
from runcast_gateway.transports.gzip import GzipTransport, asks_for_gzip
from runcast_gateway.transports.handover import HANDOVER, Handover
from runcast_service.problem import Problem
from runcast_tasks.errors import NotFound

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
MAX_FIELDS = 20
STORE_S = 6.0
"""How long a client waits for the store before it is asked to come back."""
OVERLOAD_RETRY_MS = 5000


@dataclass(slots=True)
class Start:
    """What a request comes to. `cursor`: None is the latest. `over`: nothing will ever follow it."""

    channel: Channel
    target: Target
    cursor: EventId
    over: bool


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """GET or HEAD of `/stream/sessions/{id}` or `/stream/tasks/{id}`."""
    try:
        response = await _answer(scope, receive, send)
    except Problem as problem:
        response = problem.response()
    if response is not None:
        await response(scope, receive, send)


async def _answer(scope: Scope, receive: Receive, send: Send) -> Response | None:
    """An answer that is no stream; None where there was a stream."""
    state: State = scope["state"]
    if scope["method"] not in ("GET", "HEAD"):
        raise Problem(405, "method_not_allowed", "expected GET or HEAD", headers={"Allow": "GET, HEAD"})
    headers = dict(scope["headers"])
    if refused := _refuse(state, scope, headers):
        return refused
    try:
        async with asyncio.timeout(STORE_S):
            start = await _start(state, scope, headers)
    except (RedisError, OSError):  # TimeoutError is an OSError
        return _unavailable(state, headers)
    owned = True
    try:
        if start.over:
            return Response(status_code=204)
        if scope["method"] == "HEAD":  # headers only: a stream would never end
            answer = Response(headers=HEADERS)
            del answer.headers["content-length"]
            return answer
        owned = False
        await _open(state, start, scope, receive, send)
        return None
    finally:
        if owned:
            state["hub"].unwatch(start.channel)


def _refuse(state: State, scope: Scope, headers: Mapping[bytes, bytes]) -> Response | None:
    """Because this process ends, or has as many streams as it may."""
    connections = state["connections"]
    if connections.draining:
        return _come_back(state["settings"].retry_ms)
    reason = connections.refusal(principal_of(scope))
    if reason is None:
        return None
    state["metrics"].refused.labels(reason).inc()
    if _is_event_source(headers):
        return _come_back(OVERLOAD_RETRY_MS)
    detail = "this gateway has as many streams as it may; try again" if reason == "process_full" else (
        "you have as many streams as one caller may; close one, or try again"
    )  # fmt: skip
    raise Problem(503 if reason == "process_full" else 429, reason, detail, headers={"Retry-After": "5"})


async def _start(state: State, scope: Scope, headers: Mapping[bytes, bytes]) -> Start:
    """Raises Problem, RedisError, OSError."""
    _, _, kind, name = scope["path"].split("/")
    try:
        session_id = check_session_id(name) if kind == "sessions" else session_of(name)
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except InvalidId as error:
        raise Problem(400, "invalid_id", str(error)) from None
    except ValueError:
        raise Problem(400, "invalid_query", f"expected UTF-8 text and at most {MAX_FIELDS} parameters") from None
    header = headers.get(b"last-event-id")
    cursor = parse_cursor(None if header is None else header.decode("latin-1"), query.get("last_event_id"))
    keys = state["keyspace"].session(DEFAULT_TENANT, session_id)
    if kind == "sessions":
        shown = EVERYTHING
        if query:
            check_query(query, SESSION_QUERY)
            shown = parse_filter(session_id, query.get("types"), query.get("task_id"))
        channel = await _channel(state, keys)
        over = channel.deleted is not None and (cursor is None or cursor >= channel.deleted)
        return Start(channel, Target(keys, session_id, shown), channel.cursor if cursor is None else cursor, over)
    check_query(query, TASK_QUERY)
    shown = Filter(parse_filter(session_id, query.get("types"), None).types, name)
    try:
        record = await state["records"].task(name)
    except NotFound as error:
        raise Problem(404, "not_found", str(error)) from None
    channel = await _channel(state, keys)
    over = record.terminal_id is not None and (cursor is None or cursor >= record.terminal_id)
    start = channel.cursor if cursor is None else max(cursor, record.after_id)
    return Start(channel, Target(keys, session_id, shown, name), start, over)


async def _channel(state: State, keys: SessionKeys) -> Channel:
    """The log's channel, watched, with a cursor. Raises Problem, TimeoutError from outside."""
    hub = state["hub"]
    channel = hub.watch(keys)
    try:
        await hub.started(channel)
    except BrokenLog:
        hub.unwatch(channel)
        detail = "the store has something else in the place of this log; it was logged"
        raise Problem(500, "broken_log", detail) from None
    except BaseException:
        hub.unwatch(channel)
        raise
    return channel


async def _open(state: State, start: Start, scope: Scope, receive: Receive, send: Send) -> None:
    """From the response start on. The connection owns the channel, and gives it back when it is over."""
    connections, settings = state["connections"], state["settings"]
    gzip = settings.gzip and asks_for_gzip(dict(scope["headers"]).get(b"accept-encoding", b""))
    handover: Handover | None = (scope.get("extensions") or {}).get(HANDOVER)
    if handover is not None:
        handover.prepare()
    try:
        await send({"type": "http.response.start", "status": 200, "headers": _RAW_HEADERS + _GZIPPED * gzip})
    except BaseException:
        state["hub"].unwatch(start.channel)
        raise
    if handover is not None and handover.left:
        state["hub"].unwatch(start.channel)
        return
    framing = handover.framing if handover is not None else None
    shared = framing if framing is not None and not gzip else PLAIN
    connection = connections.enter(start.channel, start.target, shared, start.cursor, principal_of(scope))
    state["metrics"].opened.labels("task" if start.target.task_id else "session").inc()
    data = {
        "session_id": start.target.session_id,
        "cursor": str(start.cursor),
        "server": state["server"],
        "client_id": secrets.token_hex(8),
    }
    first = start.target.dialect.control("connected", data, start.cursor, _jittered(settings.retry_ms))
    if handover is not None and framing is not None:
        transport = handover.take(connection)
        connection.open(GzipTransport(transport, framing) if gzip else transport, first, handed_over=True)
        return

    async def write(data: bytes) -> None:
        await send({"type": "http.response.body", "body": data, "more_body": True})

    through_send = AsgiTransport(connection, write)
    connection.open(GzipTransport(through_send, PLAIN) if gzip else through_send, first)
    await run_response(connection, through_send, receive, send)


def principal_of(scope: Scope) -> str:
    """Whose streams are counted together: an address, until callers have names."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _unavailable(state: State, headers: Mapping[bytes, bytes]) -> Response:
    """The store does not answer. EventSource gives up for good on a 503, so it is asked to come back instead."""
    if _is_event_source(headers):
        return _come_back(state["settings"].retry_ms)
    detail = "the store cannot be reached; try again"
    raise Problem(503, "store_unavailable", detail, headers={"Retry-After": "2"})


def _is_event_source(headers: Mapping[bytes, bytes]) -> bool:
    return b"text/event-stream" in headers.get(b"accept", b"")


def _come_back(retry_ms: int) -> Response:
    return Response(f"retry: {_jittered(retry_ms)}\n\n", headers=HEADERS)


def _jittered(retry_ms: int) -> int:
    return int(retry_ms * random.uniform(1, 3))  # noqa: S311 - spreads clients
