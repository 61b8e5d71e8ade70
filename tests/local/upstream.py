"""Stand-ins for what lies behind the edge, and a way to serve any ASGI app on a free port of the test's loop."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext, suppress

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from runcast_service.websocket import SOCKET, WebSocketProtocol
from tests.conftest import wait_until

GZIPPED = gzip.compress(b"hello world")


class _Server(uvicorn.Server):
    """Stopped by an event: uvicorn itself looks only every 100 ms, which many small tests feel."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.stopping = asyncio.Event()

    async def main_loop(self) -> None:
        await self.stopping.wait()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()


@asynccontextmanager
async def served(app: ASGIApp, lifespan: bool = False) -> AsyncIterator[str]:
    """The URL of `app`, as a service would serve it."""
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        server_header=False,
        date_header=False,
        lifespan="on" if lifespan else "off",
        ws=WebSocketProtocol,
        ws_per_message_deflate=False,
        proxy_headers=False,  # uvicorn would believe X-Forwarded-* of loopback clients, which all of ours are
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve())
    try:
        await wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.stopping.set()
        await task


class Upstream:
    """Behaves as the path says. `go` lets it go on; `left` is set when it learns that its client has gone."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.go, self.left = asyncio.Event(), asyncio.Event()
        self.received: list[bytes] = []
        self.streams = 0
        self.code = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        behaviour = scope["path"].rsplit("/", 1)[-1]
        if scope["type"] == "websocket":
            await self._talk(behaviour, scope, receive, send)
            return
        await getattr(self, f"_{behaviour}", self._echo)(scope, receive, send)

    async def _echo(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read(receive)
        seen = {
            "name": self.name,
            "method": scope["method"],
            "target": (scope["raw_path"] + b"?" + scope["query_string"]).decode(),
            "headers": [[name.decode(), value.decode()] for name, value in scope["headers"]],
            "body": body.decode(),
        }
        await _answer(send, 200, json.dumps(seen).encode(), [(b"content-type", b"application/json")])

    async def _talk(self, behaviour: str, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket: what was asked comes first, then every message comes back, and `close` has it close."""
        if behaviour == "refused":
            await JSONResponse({"code": "not_you"}, 403, {"X-Why": "so"})(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept", "subprotocol": next(iter(scope["subprotocols"]), None)})
        headers = [[name.decode(), value.decode()] for name, value in scope["headers"]]
        target = (scope["raw_path"] + b"?" + scope["query_string"]).decode()
        await send({"type": "websocket.send", "text": json.dumps({"target": target, "headers": headers})})
        while behaviour == "flood" and not self.go.is_set():
            await send({"type": "websocket.send", "bytes": bytes(50_000)})
            self.streams += 1
        while (message := await receive())["type"] == "websocket.receive":
            self.received.append((message.get("text") or "").encode())
            if message.get("text") == "close":
                await send({"type": "websocket.close", "code": 4321, "reason": "as asked"})
            elif message.get("text") == "die":
                scope["extensions"][SOCKET].transport.abort()
            else:
                with suppress(OSError):  # it has left, and what it said before is heard
                    await send({**message, "type": "websocket.send"})
        self.code = message["code"]
        self.left.set()

    async def _chunks(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        await self.go.wait()
        await send({"type": "http.response.body", "body": b"data: 2\n\n"})

    async def _endless(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.streams += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b":\n", "more_body": True})
        await self._silent(scope, receive, send)

    async def _silent(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            self.received.append(message["body"])
        self.left.set()

    async def _breaks(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    async def _large(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, 200, await _read(receive), [])

    async def _refuses(self, scope: Scope, receive: Receive, send: Send) -> None:
        await _answer(send, 413, b"too large", [])

    async def _nothing(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def _unchanged(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", b'"1"')]})
        await send({"type": "http.response.body"})

    async def _headers(self, scope: Scope, receive: Receive, send: Send) -> None:
        hops = [(b"connection", b"x-hop, keep-alive"), (b"x-hop", b"1"), (b"keep-alive", b"timeout=5")]
        cookies = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
        await _answer(send, 200, GZIPPED, [*hops, *cookies, (b"content-encoding", b"gzip")])


async def _read(receive: Receive) -> bytes:
    parts, more = [], True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})
