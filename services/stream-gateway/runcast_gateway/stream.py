"""The stream routes: authorise, read what is asked, answer with a stream or say why not."""

import asyncio
import random
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Request
from redis.exceptions import RedisError
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from runcast_events.errors import InvalidId
from runcast_events.ids import DEFAULT_TENANT, EventId, check_session_id, session_of
from runcast_events.keys import SessionKeys
from runcast_events.reader import Tail
from runcast_gateway import sse
from runcast_gateway.batch import Target
from runcast_gateway.connection import Connection, Greeting
from runcast_gateway.cursor import Filter, check_query, parse_cursor, parse_filter
from runcast_gateway.protocol import ABORT
from runcast_gateway.state import State, state_of
from runcast_service.problem import Problem, responses
from runcast_tasks.errors import NotFound

router = APIRouter(prefix="/stream", tags=["stream"])

HEADERS = {
    "content-type": sse.CONTENT_TYPE,
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "connection": "close",
}

TASK_QUERY = frozenset({"last_event_id", "types"})
SESSION_QUERY = TASK_QUERY | {"task_id"}

LastEventId = Annotated[
    str | None, Header(alias="Last-Event-ID", description="The cursor of an automatic reconnect; wins over the query.")
]
Cursor = Annotated[
    str | None,
    Query(description="An event id, `earliest` (default) or `latest`.", examples=["1763640000000-12"]),
]
Types = Annotated[str | None, Query(description="Only these event types, separated by commas.", examples=["output"])]

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events, without end", "content": {"text/event-stream": {}}},
    204: {"description": "Nothing will ever follow the cursor: do not reconnect"},
    **responses(400, 404, 503),
}


@router.head("/sessions/{session_id}", include_in_schema=False)
@router.get("/sessions/{session_id}", operation_id="streams_session", responses=_STREAM, summary="Follow a session")
async def stream_session(
    request: Request,
    session_id: Annotated[str, Path(examples=["s1"])],
    last_event_id_header: LastEventId = None,
    last_event_id: Cursor = None,
    types: Types = None,
    task_id: Annotated[str | None, Query(description="Only this task's events.")] = None,
) -> Response:
    """Replays the session's log from the cursor, then follows it. An unknown session waits: it may soon exist."""
    state = state_of(request)
    try:
        check_session_id(session_id)
    except InvalidId as error:
        raise Problem(400, "invalid_id", str(error)) from None
    check_query(request.query_params, SESSION_QUERY)
    cursor = parse_cursor(last_event_id_header, last_event_id)
    shown = parse_filter(session_id, types, task_id)
    keys = state["keyspace"].session(DEFAULT_TENANT, session_id)
    try:
        tail = await _tail(state, keys)
    except (RedisError, OSError):
        return _unavailable(request)
    if tail.deleted is not None and (cursor is None or cursor >= tail.deleted):
        return Response(status_code=204)
    return _open(request, Target(keys, session_id, shown), tail.id if cursor is None else cursor, "session")


@router.head("/tasks/{task_id}", include_in_schema=False)
@router.get("/tasks/{task_id}", operation_id="streams_task", responses=_STREAM, summary="Follow a task to its end")
async def stream_task(
    request: Request,
    task_id: Annotated[str, Path(examples=["s1.abcdefghij"])],
    last_event_id_header: LastEventId = None,
    last_event_id: Cursor = None,
    types: Types = None,
) -> Response:
    """One task's events. Closes after the terminal one; a reconnect from there is answered 204, which stops
    EventSource."""
    state = state_of(request)
    try:
        session_id = session_of(task_id)
    except InvalidId as error:
        raise Problem(400, "invalid_id", str(error)) from None
    check_query(request.query_params, TASK_QUERY)
    cursor = parse_cursor(last_event_id_header, last_event_id)
    shown = Filter(parse_filter(session_id, types, None).types, task_id)
    keys = state["keyspace"].session(DEFAULT_TENANT, session_id)
    try:
        record = await state["records"].task(task_id)
        tail = await _tail(state, keys)
    except NotFound as error:
        raise Problem(404, "not_found", str(error)) from None
    except (RedisError, OSError):
        return _unavailable(request)
    if record.terminal_id is not None and (cursor is None or cursor >= record.terminal_id):
        return Response(status_code=204)
    start = tail.id if cursor is None else max(cursor, record.after_id)
    return _open(request, Target(keys, session_id, shown, task_id), start, "task")


@router.get("/stats", operation_id="streams_stats", summary="What this gateway process does")
async def stats(request: Request) -> dict[str, object]:
    state = state_of(request)
    connections, hub = state["connections"], state["hub"]
    return {
        "server": state["server"],
        "connections": len(connections),
        "live": connections.live,
        "channels": hub.channels,
        "draining": connections.draining,
        "subscriber": {"connected": hub.subscriber.connected, "reconnects": max(0, hub.subscriber.reconnects)},
        "publications": {"followed": hub.stats.followed, "changed": hub.stats.changed},
        "repairs": {"reads": hub.stats.repairs, "events": hub.stats.repaired},
        "gaps": hub.stats.gaps,
    }


async def _tail(state: State, keys: SessionKeys) -> Tail:
    (tail,) = await state["reader"].tails([keys])
    if tail is None:
        raise Problem(500, "broken_log", "the store has something else in the place of this log; it was logged")
    return tail


def _open(request: Request, target: Target, cursor: EventId, kind: str) -> Response:
    state = state_of(request)
    settings = state["settings"]
    if request.method == "HEAD":  # headers only: a stream would never end
        answer = Response(headers=HEADERS)
        del answer.headers["content-length"]
        return answer
    if state["connections"].draining:
        return _come_back(settings.retry_ms)
    retry_ms = random.randint(settings.retry_ms, settings.retry_ms * 3)  # noqa: S311 - jitter
    greeting = Greeting(state["server"], secrets.token_hex(8), retry_ms)
    connection = Connection(
        target,
        cursor,
        greeting,
        hub=state["hub"],
        reader=state["reader"],
        records=state["records"],
        metrics=state["metrics"],
        heartbeat_s=settings.heartbeat_s,
    )
    state["metrics"].opened.labels(kind).inc()
    return EventStream(connection, state)


def _unavailable(request: Request) -> Response:
    """The store does not answer. EventSource gives up for good on a 503, so it is asked to come back instead."""
    if "text/event-stream" in request.headers.get("accept", ""):
        return _come_back(state_of(request)["settings"].retry_ms)
    detail = "the store cannot be reached; try again"
    raise Problem(503, "store_unavailable", detail, headers={"Retry-After": "2"})


def _come_back(retry_ms: int) -> Response:
    body = f"retry: {random.randint(retry_ms, retry_ms * 3)}\n\n"  # noqa: S311 - jitter
    return Response(body, headers=HEADERS)


class EventStream(Response):
    """A response that is a connection: plain ASGI, one task that writes and one that hears the client leave."""

    def __init__(self, connection: Connection, state: State) -> None:
        super().__init__(headers=HEADERS)
        self._connection, self._state = connection, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection, state = self._connection, self._state
        headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"]
        leaving = asyncio.create_task(_hear_leave(receive, connection))

        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        reason = "error"
        try:
            with state["connections"].joined(connection):
                try:
                    await send({"type": "http.response.start", "status": 200, "headers": headers})
                    reason = await connection.run(write)
                except asyncio.CancelledError:
                    if connection not in state["connections"].timed_out:
                        raise
                    reason = "send_timeout"
            if reason == "send_timeout":
                scope["extensions"][ABORT]["abort"]()
                # The server learns of it in the next turn; in this one it would call the response incomplete.
                await asyncio.sleep(0)
            elif reason != "gone":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            state["metrics"].closed.labels(reason).inc()
            leaving.cancel()


async def _hear_leave(receive: Receive, connection: Connection) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    connection.close("gone")
