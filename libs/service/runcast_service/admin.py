"""The admin endpoint, on a port of its own so that probes answer while the client port is full.

/livez: the process's loop turns (it answers). /readyz: it can serve; during an outage of the store it is not ready, but
alive: restarting would help nobody. /metrics: Prometheus text.
"""

import asyncio
from collections.abc import Awaitable, Callable

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Ready = Callable[[], Awaitable[str | None]]
"""None when ready, else why not."""


def admin_app(
    ready: Ready, registry: CollectorRegistry = REGISTRY, listening: asyncio.Event | None = None
) -> Starlette:
    """`ready` must bound its own time. `listening`: of the client port; None where there is none."""

    async def live(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def is_ready(_: Request) -> Response:
        opened = listening is None or listening.is_set()
        reason = await ready() if opened else "the client port is not open yet"
        if reason is None:
            return JSONResponse({"status": "ok"})
        return JSONResponse({"status": "unavailable", "reason": reason}, 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route("/livez", live), Route("/readyz", is_ready), Route("/metrics", metrics)])
