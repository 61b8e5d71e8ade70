"""The gateway's application: lifespan, routes, health."""

import asyncio
import gc
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.types import Receive, Scope, Send

from runcast_events.hub import Hub
from runcast_events.ids import DEFAULT_TENANT
from runcast_events.keys import Keyspace
from runcast_events.pipe import Pipe
from runcast_events.reader import LogReader
from runcast_events.redis import connect
from runcast_gateway.audit import Auditor
from runcast_gateway.commands.api import Api
from runcast_gateway.metrics import AuditMetrics, Metrics
from runcast_gateway.routes.openapi import describe_streams
from runcast_gateway.routes.stats import router
from runcast_gateway.routes.stream import stream
from runcast_gateway.routes.websocket import websocket
from runcast_gateway.settings import GatewaySettings
from runcast_gateway.state import State
from runcast_gateway.streams.connections import Connections
from runcast_service.access_log import AccessLog
from runcast_service.admin import Ready, admin_server
from runcast_service.problem import Problem, install_problems
from runcast_service.tracing import tracing
from runcast_tasks.record import Records

READ_TIMEOUT_S = 3.0
"""Twice this is below the heartbeat: a stream must not fall silent because the store hangs."""


def create_app(
    settings: GatewaySettings, draining: asyncio.Event, listening: asyncio.Event | None = None
) -> "StreamsFirst":
    """`draining`: set by whoever owns the process when it is told to end. `listening`: set by the server."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        server = f"{socket.gethostname()}-{secrets.token_hex(3)}"
        redis = connect(settings.events_url, f"gateway-{server}", command_timeout_s=READ_TIMEOUT_S, retries=1)
        # A pipe each: what is live does not wait behind the pages of those who come back.
        live, past = (
            Pipe(settings.events_url, f"gateway-{kind}-{server}", READ_TIMEOUT_S) for kind in ("live", "past")
        )
        keyspace = Keyspace(settings.key_prefix)
        records = Records(redis, keyspace, DEFAULT_TENANT)
        metrics = Metrics()
        hub = Hub(LogReader(live), settings.events_url, f"gateway-hub-{server}")
        connections = Connections(settings, hub=hub, reader=LogReader(past), records=records, metrics=metrics)
        unseen = Connections(settings, hub=hub, reader=connections.reader, records=records, metrics=Metrics())
        auditor = Auditor(unseen, keyspace, AuditMetrics(metrics.registry))
        metrics.watch(hub)
        metrics.watch_streams(connections, settings.max_streams)
        admin = admin_server(settings, _ready(redis, hub, connections), metrics.registry, listening)
        loops = [
            asyncio.create_task(connections.run(), name="connections"),
            asyncio.create_task(_drain(draining, connections), name="drain"),
            asyncio.create_task(unseen.run(), name="the audit's connection"),
            asyncio.create_task(auditor.run(), name="audit"),
        ]
        try:
            async with hub, admin, Api(settings.api_url) as api, tracing(settings.otlp_endpoint, "gateway") as tracer:
                connections.tracer = tracer
                _tune_gc()
                yield State(
                    settings=settings,
                    server=server,
                    keyspace=keyspace,
                    records=records,
                    hub=hub,
                    auditor=auditor,
                    connections=connections,
                    metrics=metrics,
                    api=api,
                )
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await connections.end()
            await unseen.end()
            for store in (live, past, redis):
                await store.aclose()

    app = FastAPI(title="Runcast stream gateway", version="0.1.0", lifespan=lifespan)
    install_problems(app)
    app.add_middleware(AccessLog)
    app.include_router(router)
    describe_streams(app)

    @app.get("/stream/ws", include_in_schema=False)
    async def no_upgrade() -> None:
        detail = "expected a WebSocket: a GET with Upgrade: websocket"
        raise Problem(426, "upgrade_required", detail, headers={"Upgrade": "websocket", "Connection": "Upgrade"})

    @app.get("/health", operation_id="health", tags=["health"])
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    return StreamsFirst(app)


class StreamsFirst:
    """Streams go the short way; everything else is FastAPI's."""

    def __init__(self, rest: FastAPI) -> None:
        self.rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await websocket(scope, receive, send)
            return
        if scope["type"] == "http":
            path = scope["path"].split("/")
            if len(path) == 4 and path[1] == "stream" and path[2] in ("sessions", "tasks"):
                await stream(scope, receive, send)
                return
        await self.rest(scope, receive, send)


async def _drain(draining: asyncio.Event, connections: Connections) -> None:
    await draining.wait()
    connections.drain()


def _tune_gc() -> None:
    """What stands now stands for ever, and what a stream leaves behind is freed by its count of references; looking for
    cycles among ten thousand connections takes 20 ms and finds next to nothing, so it is done seldom."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


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
