"""The api's application: lifespan, middleware, routes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from fastapi import FastAPI
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runcast_agents import Agent, InvalidAgents, load_agents
from runcast_api import agents, commands, forks, log, outputs, problems, sessions, tasks
from runcast_api.body import BodyLimit
from runcast_api.metrics import Metrics, RequestMetrics
from runcast_api.openapi import document_problems
from runcast_api.schemas import Health
from runcast_api.settings import ApiSettings
from runcast_api.state import State
from runcast_api.tracing import RequestSpans
from runcast_events.ids import DEFAULT_TENANT
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog, LogLimits
from runcast_events.reader import LogReader
from runcast_events.redis import connect
from runcast_events.replicas import Replicas
from runcast_service.access_log import AccessLog
from runcast_service.admin import Ready, admin_server
from runcast_service.tracing import tracing
from runcast_tasks.control import Control
from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import Queue
from runcast_tasks.record import Records

READY_TIMEOUT_S = 2.0
PENDING_TIMEOUT_S = 5.0


def create_app(settings: ApiSettings, listening: asyncio.Event | None = None) -> FastAPI:
    """Raises InvalidAgents. Stores are first needed by the first request. `listening`: told by the server."""
    known_agents = _agents(settings)
    default_agent = choose_default(settings, known_agents)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with connected(settings, known_agents, default_agent, metrics) as state:
            look = partial(metrics.look, state["queue"])
            async with admin_server(settings, _ready(state), metrics.registry, listening, look):
                yield state

    app = FastAPI(
        title="Runcast",
        summary="Runs AI agent tasks; every event of theirs can be replayed and followed.",
        version="0.1.0",
        lifespan=lifespan,
        openapi_url="/api/openapi.json",
        docs_url="/api/docs",
        redoc_url=None,
        redirect_slashes=False,
    )
    problems.install(app)
    document_problems(app)
    for each in (tasks, commands, outputs, log, sessions, forks, agents):
        app.include_router(each.router)

    @app.get("/health", operation_id="health", tags=["health"], summary="Whether the process answers")
    async def health() -> Health:
        return Health()

    app.add_middleware(BodyLimit, timeout_s=settings.body_timeout_s)
    app.add_middleware(RequestMetrics, metrics=metrics)
    app.add_middleware(RequestSpans)
    app.add_middleware(AccessLog)  # added last: the outermost
    return app


def _agents(settings: ApiSettings) -> dict[str, Agent]:
    try:
        known = load_agents(settings.agents_file)
    except InvalidAgents as error:
        raise InvalidAgents(f"RUNCAST_AGENTS_FILE: {error}") from error
    return known


def choose_default(settings: ApiSettings, known: Mapping[str, Agent]) -> str:
    """The agent of tasks that name none. Raises InvalidAgents when there is no such agent, or none can be chosen."""
    name = settings.default_agent
    if name is None and len(known) == 1:
        return next(iter(known))
    name = "demo" if name is None and "demo" in known else name
    if name is None or name not in known:
        is_ = "is not set" if name is None else f"is {name!r}"
        raise InvalidAgents(f"RUNCAST_DEFAULT_AGENT {is_}: expected one of {', '.join(sorted(known)) or 'none'}")
    return name


@asynccontextmanager
async def connected(
    settings: ApiSettings, known_agents: Mapping[str, Agent], default_agent: str, metrics: Metrics
) -> AsyncIterator[State]:
    """The state of an app, with clients of both stores. At the end, what is pending is finished first."""
    async with AsyncExitStack() as stack:
        events_store = queue_store = _store(settings, settings.events_url)
        stack.push_async_callback(events_store.aclose)
        if settings.redis_url != settings.events_url:
            queue_store = _store(settings, settings.redis_url)
            stack.push_async_callback(queue_store.aclose)
        keyspace = Keyspace(settings.key_prefix)
        limits = LogLimits(settings.log_max_bytes, settings.log_max_entries, settings.session_ttl_s)
        replicas = Replicas(
            events_store,
            settings.replica_acks,
            settings.store_timeout_s / 2,
            heard=metrics.log.heard,
        )
        log = EventLog(events_store, limits, replicas=replicas, observer=metrics.log)
        state = State(
            settings=settings,
            agents=known_agents,
            default_agent=default_agent,
            tenant=DEFAULT_TENANT,
            keyspace=keyspace,
            events_store=events_store,
            queue_store=queue_store,
            log=log,
            reader=LogReader(events_store),
            records=Records(events_store, keyspace, DEFAULT_TENANT),
            control=Control(events_store, log, keyspace, DEFAULT_TENANT),
            queue=Queue(queue_store, QueueKeys(settings.key_prefix)),
            metrics=metrics,
            tracer=await stack.enter_async_context(tracing(settings.otlp_endpoint, "api")),
            pending=set(),
        )
        yield state
        if state["pending"]:
            await asyncio.wait(state["pending"], timeout=PENDING_TIMEOUT_S)


def _store(settings: ApiSettings, url: str) -> Redis:
    """Fewer and shorter tries than a worker's: a client waits for the answer, and may ask again itself."""
    limit_s = settings.store_timeout_s
    return connect(url, "api", connect_timeout_s=limit_s, command_timeout_s=limit_s, retries=1)


def _ready(state: State) -> Ready:
    async def ready() -> str | None:
        for name, store in (("events", state["events_store"]), ("queue", state["queue_store"])):
            try:
                async with asyncio.timeout(READY_TIMEOUT_S / 2):
                    await store.ping()
            except (RedisError, OSError):
                return f"the {name} store does not answer"
        return None

    return ready
