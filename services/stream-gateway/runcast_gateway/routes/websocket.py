"""`/stream/ws`: a stream and the commands of its session over one WebSocket."""

import asyncio
from collections.abc import Mapping
from contextlib import ExitStack
from time import perf_counter

from redis.exceptions import RedisError
from starlette.types import Receive, Scope, Send

from runcast_gateway.commands.conversation import Conversation
from runcast_gateway.dialects import ndjson
from runcast_gateway.routes.cursor import check_query
from runcast_gateway.routes.start import (
    STORE_S,
    Asked,
    Kind,
    Start,
    admit,
    connected,
    enter,
    read_query,
    start,
    unavailable,
)
from runcast_gateway.state import State
from runcast_gateway.transports.framing import PLAIN
from runcast_gateway.transports.websocket import (
    BROKEN,
    COME_BACK,
    END,
    LATER,
    MESSAGES,
    REFUSED,
    SendTransport,
    SocketTransport,
)
from runcast_service.access_log import log_access
from runcast_service.problem import Problem
from runcast_service.request_id import HEADER, current_request_id, enter_request
from runcast_service.tracing import follow
from runcast_service.websocket import SOCKET, WebSocketProtocol

PATH = "/stream/ws"
QUERY = frozenset({"session_id", "task_id", "last_event_id", "types"})


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """A stream, or why not."""
    await receive()  # websocket.connect
    state: State = scope["state"]
    began = perf_counter()
    enter_request(scope["headers"])
    follow(scope["headers"])
    with ExitStack() as held:
        try:
            begun, principal = await _start(state, scope, held)
        except Problem as problem:
            await _refuse(problem, scope, receive, send)
            log_access(scope, problem.status, began)
            return
        await _open(state, begun, principal, held, scope, receive, send)


async def _start(state: State, scope: Scope, held: ExitStack) -> tuple[Start, str]:
    """Raises Problem."""
    headers = dict(scope["headers"])
    if scope["path"] != PATH:
        raise Problem(404, "not_found", f"WebSockets are at {PATH}")
    _check_origin(headers, state["settings"].known_origins)
    if state["connections"].draining:
        raise Problem(503, "draining", "this gateway ends; come back, to another one", headers={"Retry-After": "1"})
    principal = admit(state, scope, held)
    asked = _asked(read_query(scope), headers)
    try:
        async with asyncio.timeout(STORE_S):
            return await start(state, asked, held), principal
    except (RedisError, OSError):  # TimeoutError is an OSError
        raise unavailable() from None


def _asked(query: dict[str, str], headers: Mapping[bytes, bytes]) -> Asked:
    """Raises Problem."""
    check_query(query, QUERY)
    named: list[Kind] = [kind for kind in ("session", "task") if f"{kind}_id" in query]
    if len(named) != 1:
        raise Problem(400, "invalid_query", "expected either session_id or task_id")
    (kind,) = named
    name = query.pop(f"{kind}_id")
    return Asked(kind, name, query, headers.get(b"last-event-id"), ndjson)


def _check_origin(headers: Mapping[bytes, bytes], origins: frozenset[str]) -> None:
    """Browsers let any page open a WebSocket to anywhere, with what they know of the user, and only say which page it
    is: a stranger's page must not command the agents of whoever visits it. Programs say nothing. Raises Problem."""
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    host = headers.get(b"host", b"").decode("latin-1").lower()
    if origin and origin not in origins and origin.partition("://")[2] != host:
        detail = f"the page is of {origin[:200]}, this is {host[:200]}; RUNCAST_ORIGINS lets others in"
        raise Problem(403, "foreign_origin", detail)


async def _open(
    state: State, begun: Start, principal: str, held: ExitStack, scope: Scope, receive: Receive, send: Send
) -> None:
    """From the handshake on."""
    await send({"type": "websocket.accept", "headers": [(HEADER, current_request_id().encode())]})
    server: WebSocketProtocol | None = (scope.get("extensions") or {}).pop(SOCKET, None)  # it keeps the scope, too
    connection = enter(state, begun, PLAIN if server is None else MESSAGES, principal, held)
    transport = SendTransport(connection, send) if server is None else SocketTransport(connection, server)
    authorization = dict(scope["headers"]).get(b"authorization")
    async with Conversation(state, begun.target.session_id, authorization, send) as conversation:
        try:
            first = connected(state, begun)
            if begun.over:
                first += ndjson.control("end", {}, begun.cursor)
            connection.open(transport, first, handed_over=server is not None)
            if begun.over:
                connection.finish("end")
            if await transport.run(conversation.listen(receive)):
                await conversation.finish()
                await send({"type": "websocket.close", "code": END if connection.reason == "end" else COME_BACK})
        except TimeoutError:
            connection.abort("send_timeout")
        except OSError:
            pass  # it left while it was sent something
        finally:
            connection.connection_lost(None)


async def _refuse(problem: Problem, scope: Scope, receive: Receive, send: Send) -> None:
    """Before the handshake, as HTTP; where the server cannot do that, right after it."""
    if "websocket.http.response" in (scope.get("extensions") or {}):
        await problem.response()(scope, receive, send)
        return
    codes = {429: LATER, 503: COME_BACK if problem.code == "draining" else LATER}
    code = codes.get(problem.status, REFUSED if problem.status < 500 else BROKEN)
    await send({"type": "websocket.accept"})
    # Of 123 bytes at the most: https://www.rfc-editor.org/rfc/rfc6455#section-5.5
    reason = f"{problem.code}: {problem.detail}".encode()[:120].decode(errors="ignore")
    await send({"type": "websocket.close", "code": code, "reason": reason})
