"""A WebSocket through the edge: messages pass as they come, both ways, and so do refusals and the codes of a close.

Nothing is read ahead beyond a few messages, so that a slow side slows the other down and not the edge.
"""

import asyncio
import logging
from typing import Any
from urllib.parse import urlsplit

from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI
from websockets.http11 import Response as Refusal

from runcast_local.headers import end_to_end, forwarded, target
from runcast_service.problem import Problem

logger = logging.getLogger(__name__)

OPEN_S = 5.0
CLOSE_S = 1.0
MESSAGE_BYTES = 1024 * 1024
"""Of a service. What a client sends the server of the edge bounds."""
READ_AHEAD = 4
GOING_AWAY, BAD_GATEWAY = 1001, 1014
UNSENDABLE = frozenset({1004, 1005, 1006, 1015})
"""Codes that a side makes for itself where the other gave none."""


async def tunnel(scope: Scope, receive: Receive, send: Send, service: str, upstream: str) -> None:
    """One WebSocket from its handshake to its end."""
    await receive()  # websocket.connect
    try:
        connection = await _connect(scope, service, upstream)
    except InvalidStatus as refused:
        await _refusal(refused.response)(scope, receive, send)
        return
    except Problem as problem:
        await problem.response()(scope, receive, send)
        return
    async with connection:
        await send({"type": "websocket.accept", "subprotocol": connection.subprotocol})
        up = asyncio.create_task(_up(receive, connection))
        try:
            await _down(connection, send, service, scope["path"])
        except OSError:  # the client is gone: what it said before goes on
            await asyncio.wait((up,), timeout=CLOSE_S)
        finally:
            up.cancel()
            await asyncio.gather(up, return_exceptions=True)


async def _connect(scope: Scope, service: str, upstream: str) -> ClientConnection:
    """Raises Problem; InvalidStatus where the service refuses."""
    url = urlsplit(upstream)
    host = dict(scope["headers"]).get(b"host", url.netloc.encode()).decode("latin-1")
    secure: dict[str, Any] = {"server_hostname": url.hostname} if url.scheme == "https" else {}
    try:
        return await connect(
            f"{'wss' if secure else 'ws'}://{host}{target(scope).decode('ascii')}",
            host=url.hostname,  # the address; what stands in the URI is what the client called us
            port=url.port or (443 if secure else 80),
            additional_headers=[(name.decode(), value.decode("latin-1")) for name, value in _headers(scope)],
            subprotocols=scope["subprotocols"] or None,
            compression=None,
            user_agent_header=None,
            proxy=None,
            open_timeout=OPEN_S,
            close_timeout=CLOSE_S,
            ping_interval=None,  # the service's to do, and the edge's server's: each side is asked once
            max_size=MESSAGE_BYTES,
            max_queue=READ_AHEAD,
            **secure,
        )
    except InvalidStatus:
        raise
    except (InvalidURI, ValueError) as error:
        raise Problem(400, "invalid_url", f"expected a URL that WebSockets allow: {error}") from None
    except (InvalidHandshake, OSError) as error:  # TimeoutError is an OSError
        detail = f"the {service} cannot be reached or gave no answer: {str(error) or type(error).__name__}"
        raise Problem(502, "upstream_unavailable", detail) from None


def _headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """Each hop has a handshake of its own."""
    given = forwarded(scope)
    return [(name, value) for name, value in given if name != b"host" and not name.startswith(b"sec-websocket-")]


def _refusal(refusal: Refusal) -> Response:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in refusal.headers.raw_items()]
    response = Response(bytes(refusal.body or b""), refusal.status_code)
    response.raw_headers = end_to_end(raw)
    return response


async def _up(receive: Receive, connection: ClientConnection) -> None:
    """Until the client leaves: then the service is left as well, which ends the other way."""
    while (message := await receive())["type"] == "websocket.receive":
        text = message.get("text")
        await connection.send(message["bytes"] if text is None else text)
    code = message.get("code", GOING_AWAY)
    await connection.close(GOING_AWAY if code in UNSENDABLE else code, message.get("reason") or "")


async def _down(connection: ClientConnection, send: Send, service: str, path: str) -> None:
    """Until the service closes, or was left."""
    try:
        while True:
            message = await connection.recv()
            await send({"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message})
    except ConnectionClosed as closed:
        if closed.rcvd is None and closed.sent is None:
            logger.warning("the %s broke off", service, extra={"path": path})
            code, reason = BAD_GATEWAY, f"the {service} broke off"
        else:
            said = closed.rcvd or closed.sent
            assert said is not None
            code, reason = said.code, said.reason
        await send({"type": "websocket.close", "code": 1000 if code in UNSENDABLE else code, "reason": reason})
