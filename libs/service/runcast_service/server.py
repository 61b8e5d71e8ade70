"""uvicorn, owned: we own the Server object, so that a service learns of SIGTERM when it arrives.

uvicorn runs the lifespan's shutdown only after the last connection closed, so a lifespan cannot end open streams.
"""

import asyncio
import logging
import resource
import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

import uvicorn

logger = logging.getLogger(__name__)

BACKLOG = 4096
"""Connections that wait to be accepted: a few thousand clients come back at once when a process ended."""
MAX_MESSAGE_BYTES = 256 * 1024
"""Of a WebSocket client."""


@dataclass(frozen=True, slots=True)
class Ping:
    """A WebSocket client is pinged this often, and given up when it has not answered for so long."""

    interval_s: float
    timeout_s: float


class Server(uvicorn.Server):
    """Calls `on_exit` once, at the first SIGTERM or SIGINT, before uvicorn stops accepting. `listening`: set when the
    port is open, which is after the lifespan began."""

    def __init__(
        self, config: uvicorn.Config, on_exit: Callable[[], None] | None = None, listening: asyncio.Event | None = None
    ) -> None:
        super().__init__(config)
        self._on_exit, self._listening = on_exit, listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        for server in getattr(self, "servers", []):
            host, port = server.sockets[0].getsockname()[:2]
            logger.info("listening on http://%s:%d", host, port)
        if self._listening is not None:
            self._listening.set()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit and self._on_exit is not None:
            self._on_exit()
        super().handle_exit(sig, frame)


def serve(
    app: Any,
    *,
    host: str,
    port: int,
    on_exit: Callable[[], None] | None = None,
    grace_s: int = 10,
    http: type[asyncio.Protocol] | Literal["auto"] = "auto",
    ws: type[asyncio.Protocol] | Literal["none"] = "none",
    ping: Ping | None = None,
    listening: asyncio.Event | None = None,
    bound: socket.socket | None = None,
) -> None:
    """Run until a signal; open requests get `grace_s`. uvicorn re-raises the signal: SIGTERM ends as exit 143.
    `http`, `ws`: other protocol classes than uvicorn's own. `ping`: of WebSockets. `listening`: set when the client
    port is open; a process that is not reachable yet must not say that it is ready. `bound`: a socket that has this
    address already."""
    config = _config(app, host, port, lifespan="on", http=http, ws=ws, ping=ping, grace_s=grace_s)
    Server(config, on_exit, listening).run(None if bound is None else [bound])


def _config(
    app: Any,
    host: str,
    port: int,
    *,
    lifespan: Literal["on", "off"],
    http: type[asyncio.Protocol] | Literal["auto"],
    ws: type[asyncio.Protocol] | Literal["none"] = "none",
    ping: Ping | None = None,
    grace_s: int,
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=grace_s,
        lifespan=lifespan,
        ws=ws,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_ping_interval=None if ping is None else ping.interval_s,
        ws_ping_timeout=None if ping is None else ping.timeout_s,
        ws_per_message_deflate=False,  # a compressor for each client, and no choice of when it is worth that
        http=http,
        backlog=BACKLOG,
        # X-Forwarded-* is anybody's claim until a deployment says which proxies to believe.
        proxy_headers=False,
    )


def raise_file_limit(files: int) -> None:
    """Let this process open as many files as its hard limit allows, up to `files`: every stream is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = files if hard == resource.RLIM_INFINITY else min(files, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


class PortTaken(OSError):
    """The address to listen on cannot be had."""


def bind(host: str, port: int) -> socket.socket:
    """A TCP socket that has this address. Raises PortTaken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise PortTaken(f"{host} port {port} cannot be listened on: {error.strerror}") from error
    return listening


class SideServer:
    """A second server inside a running process (the admin endpoint): owned by whoever starts it."""

    def __init__(
        self,
        app: Any,
        host: str,
        port: int,
        *,
        lifespan: Literal["on", "off"] = "off",
        http: type[asyncio.Protocol] | Literal["auto"] = "auto",
        ws: type[asyncio.Protocol] | Literal["none"] = "none",
        ping: Ping | None = None,
    ) -> None:
        config = _config(app, host, port, lifespan=lifespan, http=http, ws=ws, ping=ping, grace_s=2)
        self._server = _NoSignals(config)
        self._host, self._port = host, port
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "SideServer":
        # Bound here: uvicorn would end the whole process with a bare exit code when the port is taken.
        listening = bind(self._host, self._port)
        self._task = asyncio.create_task(self._server.serve([listening]), name="side server")
        while not self._server.started and not self._task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        if self._task.done():
            self._task.result()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.should_exit = True
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def port(self) -> int:
        port: int = self._server.servers[0].sockets[0].getsockname()[1]
        return port


class _NoSignals(uvicorn.Server):
    """The process's signals belong to its main server."""

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()
