"""The edge: one origin for api and gateway, as a proxy makes it in production. A streaming reverse proxy in pure ASGI.

Bytes pass as they come, both ways and undecoded. Whoever leaves, client or upstream, the other side is ended at once,
and what was cut off never looks complete.
"""

import asyncio
import contextlib
import logging
from typing import Any

import httpx2
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from runcast_local.headers import end_to_end, forwarded, target
from runcast_local.routes import Routes, load_routes
from runcast_local.settings import EdgeSettings
from runcast_local.tunnel import tunnel
from runcast_local.upload import SILENCE_S, BodyStalled, ClientGone, Upload
from runcast_service.problem import Problem

logger = logging.getLogger(__name__)

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]", "::1"})
CONNECTIONS = 2000
# No read timeout: a stream may be silent for long. The others tell a hanging upstream.
TIMEOUTS = {"connect": 5.0, "write": 30.0, "pool": 5.0, "read": None}
# Below uvicorn's 5 s of keep-alive: else a request could meet a connection that the upstream just closes.
KEEPALIVE_S = 2.0

INDEX = {
    "name": "runcast",
    "docs": "/api/docs",
    "openapi": "/api/openapi.json",
    "submit": "POST /api/tasks",
    "events": "/stream/tasks/{task_id}",
}


class Edge:
    """`upstreams`: the services' URLs by name. `body_silence_s`: how long a client may pause while it sends a body.
    `hosts`: the host names it answers to; None: any. Needs the lifespan, which owns the connections upstream."""

    def __init__(
        self,
        routes: Routes,
        upstreams: dict[str, str],
        body_silence_s: float = SILENCE_S,
        hosts: frozenset[str] | None = None,
    ) -> None:
        self._routes, self._upstreams, self._body_silence_s, self._hosts = routes, upstreams, body_silence_s, hosts
        self._transport: httpx2.AsyncHTTPTransport | None = None
        self._uploads: httpx2.AsyncHTTPTransport | None = None
        self._exchanges: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif (refusal := _refusal(scope, self._hosts)) is not None:
            await refusal.response()(scope, receive, send)
        elif scope["type"] == "websocket":
            service = self._routes.service(scope["path"])
            await tunnel(scope, receive, send, service, self._upstreams[service])
        elif scope["path"] == "/":
            await JSONResponse(INDEX)(scope, receive, send)
        else:
            await self._forward(scope, receive, send)

    def close(self) -> None:
        """End all exchanges, from a signal handler: uvicorn would wait for streams that never end."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        for exchange in self._exchanges:
            exchange.cancel()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        self._loop = asyncio.get_running_loop()
        # The transport, not a client: cookies, redirects and proxies of the environment are none of an edge's business.
        limits = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=32, keepalive_expiry=KEEPALIVE_S)
        unshared = httpx2.Limits(max_connections=CONNECTIONS, max_keepalive_connections=0)
        async with (
            httpx2.AsyncHTTPTransport(trust_env=False, limits=limits) as self._transport,
            httpx2.AsyncHTTPTransport(trust_env=False, limits=unshared) as self._uploads,
        ):
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One exchange, ended at once when the client goes."""
        upload = Upload(receive, self._body_silence_s)
        exchange = asyncio.create_task(self._exchange(scope, receive, send, upload))
        watch = asyncio.create_task(_cancel_when_gone(exchange, receive, upload.sent))
        self._exchanges.add(exchange)
        try:
            await asyncio.wait((exchange,))
        finally:
            self._exchanges.discard(exchange)
            exchange.cancel()
            watch.cancel()
            await asyncio.gather(exchange, watch, return_exceptions=True)
        if not exchange.cancelled():
            exchange.result()

    async def _exchange(self, scope: Scope, receive: Receive, send: Send, upload: Upload) -> None:
        service = self._routes.service(scope["path"])
        try:
            response = await self._open(scope, service, upload)
        except ClientGone:
            return
        except Problem as problem:
            await problem.response()(scope, receive, send)
            return
        upload.sent.set()
        try:
            headers = end_to_end(response.headers.raw, {b"content-length"} if response.status_code == 304 else ())
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            async with contextlib.aclosing(response.aiter_raw()) as body:
                async for chunk in body:
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        except httpx2.TransportError as error:
            # Left incomplete on purpose: the server then cuts the connection, and the client knows.
            logger.warning("the %s broke off: %s", service, error, extra={"path": scope["path"]})
            return
        finally:
            await response.aclose()
        await send({"type": "http.response.body"})

    async def _open(self, scope: Scope, service: str, upload: Upload) -> httpx2.Response:
        """The service's answer, as soon as its head is there. Raises Problem, ClientGone."""
        transport = self._uploads if _has_body(scope) else self._transport
        assert transport is not None
        try:
            return await transport.handle_async_request(_request(scope, self._upstreams[service], upload))
        except BodyStalled:
            detail = f"nothing of the body arrived for {self._body_silence_s:g} s: expected the rest of it"
            raise Problem(408, "body_timeout", detail) from None
        except (httpx2.InvalidURL, UnicodeError) as error:
            raise Problem(400, "invalid_url", f"expected a URL that HTTP allows: {error}") from None
        except httpx2.LocalProtocolError as error:
            raise Problem(400, "bad_request", f"expected headers that HTTP allows: {error}") from None
        except httpx2.TransportError as error:
            detail = f"the {service} cannot be reached or gave no answer: {str(error) or type(error).__name__}"
            raise Problem(502, "upstream_unavailable", detail) from None


async def _cancel_when_gone(exchange: asyncio.Task[None], receive: Receive, sent: asyncio.Event) -> None:
    """Until `sent` the request's body is read by the exchange; what a client sends later nobody wants."""
    await sent.wait()
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.cancel()


def _refusal(scope: Scope, hosts: frozenset[str] | None) -> Problem | None:
    """Why no service is asked; None when one is."""
    host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
    if hosts is not None and host and host.rpartition(":")[0] not in hosts and host not in hosts:
        # Else any web page could have its own name resolve to loopback, and command the agents of whoever visits it.
        detail = (
            f"this stack answers to {', '.join(sorted(hosts))}, not to {host[:80]!r}; RUNCAST_HOST opens it to others"
        )
        return Problem(400, "unknown_host", detail)
    path: str = scope["path"]
    if not path.startswith("/"):  # `OPTIONS *`
        return Problem(400, "invalid_url", f"the request is for {path[:80]!r}: expected a path that starts with /")
    if not {".", ".."}.isdisjoint(path.split("/")):
        # The client of the upstream removes them, so the service would see another path than the one that chose it.
        return Problem(400, "invalid_url", "the path has a segment . or .. (maybe as %2e): expected one without")
    if path == "/" and scope.get("method", "GET") not in ("GET", "HEAD"):
        return Problem(405, "method_not_allowed", "expected GET or HEAD", headers={"Allow": "GET, HEAD"})
    return None


def _has_body(scope: Scope) -> bool:
    names = dict(scope["headers"])
    return b"transfer-encoding" in names or names.get(b"content-length", b"0") != b"0"


def _request(scope: Scope, upstream: str, upload: Upload) -> httpx2.Request:
    headers = forwarded(scope)
    url = httpx2.URL(upstream).copy_with(raw_path=target(scope))
    extensions: dict[str, Any] = {"timeout": TIMEOUTS}
    if not _has_body(scope):
        upload.sent.set()
        return httpx2.Request(scope["method"], url, headers=headers, extensions=extensions)
    extensions["trace"] = upload.trace
    return httpx2.Request(scope["method"], url, headers=headers, content=upload, extensions=extensions)


def create_app(settings: EdgeSettings) -> Edge:
    """Raises InvalidRoutes."""
    upstreams = {"api": settings.api_url, "gateway": settings.gateway_url}
    hosts = LOOPBACK_NAMES if settings.host in LOOPBACK_NAMES else None
    return Edge(load_routes(settings.routes_file), upstreams, hosts=hosts)
