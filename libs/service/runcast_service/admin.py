"""The admin endpoint, on a port of its own so that probes answer while the client port is full.

/livez: the process's loop turns (it answers). /readyz: it can serve; during an outage of the store it is not ready, but
alive: restarting would help nobody. /metrics: Prometheus text.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from runcast_service.metrics import ProcessRegistry, watch_loop
from runcast_service.server import SideServer
from runcast_service.settings import ServiceSettings

Ready = Callable[[], Awaitable[str | None]]
"""None when ready, else why not."""


REFRESH_S = 1.0


async def _nothing() -> None:
    pass


def admin_app(
    ready: Ready,
    registry: CollectorRegistry,
    listening: asyncio.Event | None = None,
    refresh: Callable[[], Awaitable[None]] = _nothing,
) -> Starlette:
    """`ready` must bound its own time. `listening`: of the client port; None where there is none. `refresh`: brings up
    to date what is measured only when somebody looks; what it does not come to in REFRESH_S is shown as it was."""

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def is_ready(_: Request) -> Response:
        opened = listening is None or listening.is_set()
        reason = await ready() if opened else "the client port is not open yet"
        if reason is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "unavailable", "reason": reason}, 503)

    async def metrics(_: Request) -> Response:
        with suppress(TimeoutError):
            async with asyncio.timeout(REFRESH_S):
                await refresh()
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/livez", live), Route("/readyz", is_ready), Route("/metrics", metrics)])


@asynccontextmanager
async def admin_server(
    settings: ServiceSettings,
    ready: Ready,
    registry: ProcessRegistry,
    listening: asyncio.Event | None = None,
    refresh: Callable[[], Awaitable[None]] = _nothing,
) -> AsyncIterator[SideServer]:
    """The endpoint of this process, served until the block ends, while its event loop is watched. Raises PortTaken."""
    app = admin_app(ready, registry, listening, refresh)
    watching = asyncio.create_task(watch_loop(registry.loop_lag), name="loop lag")
    try:
        async with SideServer(app, settings.host, settings.admin_port) as server:
            yield server
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
