"""What the parts of one worker process share: the stores, the agents, the engines."""

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis

from runcast_agents import Agent, InvalidAgents, load_agents
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog, LogLimits
from runcast_events.redis import connect
from runcast_events.replicas import Replicas
from runcast_service.tracing import Tracer, tracing
from runcast_tasks.claim import Claims
from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import Queue
from runcast_worker.alerts import Alerts
from runcast_worker.engines import Engine
from runcast_worker.metrics import Metrics
from runcast_worker.sandbox import Sandbox, find_sandbox
from runcast_worker.secrets.known import known_secrets
from runcast_worker.secrets.logging import redacted_logging
from runcast_worker.secrets.redaction import Redactor, redactors
from runcast_worker.settings import WorkerSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deps:
    """`name`: this process, as task_started and logging show it. `draining`: set when running attempts are to end where
    another worker can go on. `requeue`: set when they must end now and
    be taken over by another worker."""

    settings: WorkerSettings
    name: str
    events: Redis
    queue_redis: Redis
    keyspace: Keyspace
    log: EventLog
    queue: Queue
    claims: Claims
    agents: Mapping[str, Agent]
    engines: Mapping[str, Engine]
    metrics: Metrics
    sandbox: Sandbox
    redactor: Callable[[], Redactor]
    tracer: Tracer
    alerts: Alerts = field(default_factory=Alerts)
    draining: asyncio.Event = field(default_factory=asyncio.Event)
    requeue: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def open_deps(settings: WorkerSettings, engines: Mapping[str, Engine]) -> AsyncIterator[Deps]:
    """Nothing is connected yet: a store that is away at start is waited for. Raises InvalidAgents, SandboxMissing."""
    agents = load_agents(settings.agents_file)
    if any(agent.mcp for agent in agents.values()):
        # Now: with the first task of such an agent it would hold up all others that run here, maybe past their leases.
        import runcast_worker.mcp  # noqa: F401
    for name_of, agent in agents.items():
        if agent.workspace is not None and not agent.workspace.is_dir():
            raise InvalidAgents(f"{settings.agents_file}: agents.{name_of}.workspace: no folder {agent.workspace}")
    sandbox = await find_sandbox(settings.sandbox)
    name = f"{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(2)}"
    # Per attempt: an append, a look for requests, the reaper's hint; and some for claims and the reaper.
    events = connect(settings.events_url, name, max_connections=3 * settings.max_jobs + 8)
    renewals = connect(settings.events_url, name, max_connections=settings.max_jobs + 2, retries=0)
    queue_redis = connect(settings.redis_url, name, max_connections=2 * settings.max_jobs + 8)
    keyspace = Keyspace(settings.key_prefix)
    limits = LogLimits(settings.log_max_bytes, settings.log_max_entries, settings.session_ttl_s)
    metrics = Metrics()
    metrics.slots.set(settings.max_jobs)
    metrics.expect(agents, settings.llm_model)
    replicas = Replicas(events, settings.replica_acks, heard=metrics.log.heard)
    redactor = redactors(known_secrets(os.environ, agents.values(), (settings.redis_url, settings.events_url)))
    try:
        with redacted_logging(redactor()):
            async with tracing(settings.otlp_endpoint, "worker") as tracer:
                yield Deps(
                    settings=settings,
                    name=name,
                    events=events,
                    queue_redis=queue_redis,
                    keyspace=keyspace,
                    log=EventLog(events, limits, replicas=replicas, observer=metrics.log),
                    queue=Queue(queue_redis, QueueKeys(settings.key_prefix)),
                    claims=Claims(events, keyspace, name, settings.lease_ttl_s, renewals),
                    agents=agents,
                    engines=engines,
                    metrics=metrics,
                    sandbox=sandbox,
                    redactor=redactor,
                    tracer=tracer,
                )
    finally:
        await renewals.aclose()
        await events.aclose()
        await queue_redis.aclose()
