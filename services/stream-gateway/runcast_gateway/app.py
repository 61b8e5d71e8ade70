"""The gateway's application: lifespan, routes, health."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runcast_events.hub import Hub
from runcast_events.ids import DEFAULT_TENANT
from runcast_events.keys import Keyspace
from runcast_events.reader import LogReader
from runcast_events.redis import connect
from runcast_gateway import sse
from runcast_gateway.connections import Connections
from runcast_gateway.metrics import Metrics
from runcast_gateway.settings import GatewaySettings
from runcast_gateway.state import State
from runcast_gateway.stream import router
from runcast_service.admin import Ready, admin_app
from runcast_service.problem import install_problems
from runcast_service.server import SideServer
from runcast_tasks.record import Records

READ_TIMEOUT_S = 3.0
"""Twice this is below the heartbeat: a stream must not fall silent because the store hangs."""


def create_app(settings: GatewaySettings, connections: Connections, listening: asyncio.Event | None = None) -> FastAPI:
    """`connections` and `listening` belong to whoever owns the server: the first is drained when the process is told to
    end, the second is told by the server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        server = f"{socket.gethostname()}-{secrets.token_hex(3)}"
        redis = connect(settings.events_url, f"gateway-{server}", command_timeout_s=READ_TIMEOUT_S, retries=1)
        reader, keyspace = LogReader(redis), Keyspace(settings.key_prefix)
        metrics = Metrics(CollectorRegistry())
        hub = Hub(reader, settings.events_url, f"gateway-live-{server}", sse.event)
        metrics.watch(hub)
        metrics.gauge("runcast_streams", "Open streams.", lambda: len(connections))
        ticking = asyncio.create_task(connections.run(), name="connections")
        admin = SideServer(
            admin_app(_ready(redis, hub, connections), metrics.registry, listening), settings.host, settings.admin_port
        )
        try:
            async with hub, admin:
                yield State(
                    settings=settings,
                    server=server,
                    keyspace=keyspace,
                    reader=reader,
                    records=Records(redis, keyspace, DEFAULT_TENANT),
                    hub=hub,
                    connections=connections,
                    metrics=metrics,
                )
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            await redis.aclose()

    app = FastAPI(title="Runcast stream gateway", version="0.1.0", lifespan=lifespan)
    install_problems(app)
    app.include_router(router)

    @app.get("/health", operation_id="health", tags=["health"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return app


def _ready(redis: Redis, hub: Hub, connections: Connections) -> Ready:
    async def ready() -> str | None:
        if connections.draining:
            return "draining"
        if hub.failed is not None:
            return hub.failed
        try:
            async with asyncio.timeout(2):
                await redis.ping()
        except (RedisError, OSError):
            return "the events store does not answer"
        return None if hub.subscriber.connected else "Pub/Sub is not connected"

    return ready
