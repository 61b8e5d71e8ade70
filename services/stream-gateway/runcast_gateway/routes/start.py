"""Where a stream begins: what a request asks for, checked, and the log's channel. The same for all ways to a client."""

import random
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from starlette.types import Scope

from runcast_events.channel import Channel
from runcast_events.errors import BrokenLog, InvalidId
from runcast_events.ids import DEFAULT_TENANT, EventId, check_session_id, session_of
from runcast_events.keys import SessionKeys
from runcast_gateway.dialects import sse
from runcast_gateway.dialects.dialect import Dialect
from runcast_gateway.routes.cursor import parse_cursor, parse_filter
from runcast_gateway.state import State
from runcast_gateway.streams.connection import Connection
from runcast_gateway.streams.filter import EVERYTHING, Filter
from runcast_gateway.streams.target import Target
from runcast_gateway.transports.framing import Framing
from runcast_service.problem import Problem
from runcast_tasks.errors import NotFound

MAX_FIELDS = 20
STORE_S = 6.0
"""How long a client waits for the store before it is asked to come back."""

REFUSALS = {
    "process_full": (503, "this gateway has as many streams as it may; try again"),
    "principal_full": (429, "you have as many streams as one caller may; close one, or try again"),
}

Kind = Literal["session", "task"]


@dataclass(slots=True)
class Start:
    """What a request comes to. `over`: nothing will ever follow the cursor."""

    channel: Channel
    target: Target
    cursor: EventId
    over: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for, as it says it: `name` is the session's or the task's id; `query` has `last_event_id`,
    `types` and, of a session, `task_id`, or less."""

    kind: Kind
    name: str
    query: dict[str, str]
    last_event_id: bytes | None
    dialect: Dialect = sse


async def start(state: State, asked: Asked, held: ExitStack) -> Start:
    """`held` gives the channel back. Raises Problem, RedisError, OSError. The caller bounds the wait."""
    try:
        session_id = check_session_id(asked.name) if asked.kind == "session" else session_of(asked.name)
    except InvalidId as error:
        raise Problem(400, "invalid_id", str(error)) from None
    query, header = asked.query, asked.last_event_id
    cursor = parse_cursor(None if header is None else header.decode("latin-1"), query.get("last_event_id"))
    keys = state["keyspace"].session(DEFAULT_TENANT, session_id)
    if asked.kind == "session":
        shown = parse_filter(session_id, query.get("types"), query.get("task_id")) if query else EVERYTHING
        channel = await _channel(state, keys, held)
        over = channel.deleted is not None and (cursor is None or cursor >= channel.deleted)
        target = Target(keys, session_id, shown, dialect=asked.dialect)
        return Start(channel, target, channel.cursor if cursor is None else cursor, over)
    shown = Filter(parse_filter(session_id, query.get("types"), None).types, asked.name)
    channel = await _channel(state, keys, held)
    latest = channel.cursor  # before the record, which then tells of whatever ended before it
    try:
        record = await state["records"].task(asked.name)
    except NotFound as error:
        raise Problem(404, "not_found", str(error)) from None
    begin = latest if cursor is None else max(cursor, record.after_id)
    over = record.terminal_id is not None and begin >= record.terminal_id
    return Start(channel, Target(keys, session_id, shown, asked.name, asked.dialect), begin, over)


def read_query(scope: Scope) -> dict[str, str]:
    """Raises Problem."""
    try:
        return dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS))
    except ValueError:
        raise Problem(400, "invalid_query", f"expected UTF-8 text and at most {MAX_FIELDS} parameters") from None


def admit(state: State, scope: Scope, held: ExitStack) -> str:
    """A place for a stream of this caller, who is returned; `held` gives it back. Raises Problem where there are as
    many as may be."""
    connections, principal = state["connections"], principal_of(scope)
    refused = connections.take_place(principal)
    if refused is None:
        held.callback(connections.leave_place, principal)
        return principal
    state["metrics"].refused.labels(refused).inc()
    status, detail = REFUSALS[refused]
    raise Problem(status, refused, detail, headers={"Retry-After": "5"})


def unavailable() -> Problem:
    """The store does not answer."""
    detail = "the store cannot be reached; try again"
    return Problem(503, "store_unavailable", detail, headers={"Retry-After": "2"})


def enter(state: State, begun: Start, framing: Framing, principal: str, held: ExitStack) -> Connection:
    """A connection, which from here on has what was held, and gives it back when it is over."""
    connection = state["connections"].enter(begun.channel, begun.target, framing, begun.cursor, principal)
    held.pop_all()
    state["metrics"].opened["task" if begun.target.task_id else "session"].inc()
    return connection


def connected(state: State, begun: Start) -> bytes:
    """The first frame of a stream."""
    data = {
        "session_id": begun.target.session_id,
        "cursor": str(begun.cursor),
        "server": state["server"],
        "client_id": f"{random.getrandbits(64):016x}",
    }
    return begun.target.dialect.control("connected", data, begun.cursor, jittered(state["settings"].retry_ms))


def principal_of(scope: Scope) -> str:
    """Whose streams are counted together: an address, until callers have names."""
    client = scope.get("client")
    return sys.intern(client[0]) if client else ""


def jittered(retry_ms: int) -> int:
    return int(retry_ms * random.uniform(1, 3))  # noqa: S311 - spreads clients


async def _channel(state: State, keys: SessionKeys, held: ExitStack) -> Channel:
    """The log's channel, watched, with a cursor. Raises Problem, and TimeoutError from outside."""
    channel = state["hub"].watch(keys)
    held.callback(state["hub"].unwatch, channel)
    try:
        await channel.started()
    except BrokenLog:
        detail = "the store has something else in the place of this log; it was logged"
        raise Problem(500, "broken_log", detail) from None
    return channel
