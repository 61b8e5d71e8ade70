"""What routes work with: built by the lifespan, part of every request."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Annotated, Any, TypedDict, TypeVar, cast

from fastapi import Depends, Request
from redis.asyncio import Redis

from runcast_agents import Agent
from runcast_api.metrics import Metrics
from runcast_api.settings import ApiSettings
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_events.reader import LogReader
from runcast_service.tracing import Tracer
from runcast_tasks.control import Control
from runcast_tasks.queue import Queue
from runcast_tasks.record import Records

T = TypeVar("T")


class State(TypedDict):
    """`pending`: what is finished although its caller may be gone; the lifespan waits for it."""

    settings: ApiSettings
    default_agent: str
    agents: Mapping[str, Agent]
    tenant: str
    keyspace: Keyspace
    events_store: Redis
    queue_store: Redis
    log: EventLog
    reader: LogReader
    records: Records
    control: Control
    queue: Queue
    metrics: Metrics
    tracer: Tracer
    pending: set[asyncio.Task[Any]]


async def _state(request: Request) -> State:
    return cast(State, request.scope["state"])


ApiState = Annotated[State, Depends(_state)]


async def to_the_end(state: State, work: Coroutine[Any, Any, T]) -> T:
    """Await work that must not stop half way, whatever happens to the request that asked for it."""
    task = asyncio.create_task(work)
    state["pending"].add(task)
    task.add_done_callback(state["pending"].discard)
    return await asyncio.shield(task)
