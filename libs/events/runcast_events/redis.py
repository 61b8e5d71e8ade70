"""The one place that opens connections to a store.

Every wait has a timeout, and what is retried is safe to repeat: all our writes are scripts that answer a repeated call
as they answered the first. Traps this factory holds shut (redis-py 5.3): `retry` must come from redis.asyncio, since
the sync class is silently ignored; connect() raises the builtin OSError, which `Retry` does not cover unless told; the
default pool has no limit and the default socket no timeout. RESP2 is pinned because RESP3 changes XREAD's shape.
"""

import asyncio
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Connection, Redis
from redis.asyncio.retry import Retry
from redis.backoff import FullJitterBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,  # noqa: A004 - redis-py shadows the builtins
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,  # noqa: A004
)

from runcast_events.cancellation import make_cancel_safe
from runcast_events.sentinel import Master, ToMaster
from runcast_events.store_url import parse_store_url

RETRYABLE = (ConnectionError, TimeoutError, OSError, BusyLoadingError, ReadOnlyError)
"""What passes by itself: the store restarts, fails over, loads its data, or a reply was lost."""

_PASSING_ANSWERS = ("OOM ", "MISCONF", "NOREPLICAS", "CLUSTERDOWN", "TRYAGAIN", "MASTERDOWN", "READONLY")

CONNECT_TIMEOUT_S = 2.0
COMMAND_TIMEOUT_S = 5.0
RETRIES = 4


def _options(
    name: str,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    command_timeout_s: float = COMMAND_TIMEOUT_S,
    retries: int = RETRIES,
) -> dict[str, Any]:
    return {
        "client_name": name,
        "protocol": 2,
        "socket_connect_timeout": connect_timeout_s,
        "socket_timeout": command_timeout_s,
        "socket_keepalive": True,
        "retry": Retry(FullJitterBackoff(cap=0.5, base=0.02), retries),
        "retry_on_error": list(RETRYABLE),
    }


def connect(
    url: str,
    name: str,
    *,
    max_connections: int = 32,
    connect_timeout_s: float = CONNECT_TIMEOUT_S,
    command_timeout_s: float = COMMAND_TIMEOUT_S,
    retries: int = RETRIES,
) -> Redis:
    """A client with a bounded pool; a caller waits up to `command_timeout_s` for a free connection. Replies are bytes.

    `name` shows in CLIENT LIST. XRANGE, XREVRANGE and XREAD answer as the server sends them, lists of bytes: the entry
    codec reads those, and redis-py's own reshaping costs more than the rest of a page.
    """
    options = _options(name, connect_timeout_s, command_timeout_s, retries)
    client = Redis.from_pool(_pool(url, max_connections=max_connections, timeout=command_timeout_s, **options))
    for command in ("XRANGE", "XREVRANGE", "XREAD"):
        client.response_callbacks.pop(command, None)
    return client


def bare_connection(url: str, name: str) -> Connection:
    """One connection without a pool, not connected yet. Its reads time out only where the caller says so."""
    options = _options(name) | {"socket_timeout": None}
    connection: Connection = _pool(url, max_connections=1, **options).make_connection()  # type: ignore[no-untyped-call]
    return connection


def _pool(url: str, **options: Any) -> BlockingConnectionPool:
    """Raises ValueError when the URL is none."""
    parsed = parse_store_url(url)
    options |= parsed.options
    if parsed.service:
        kind = options.get("connection_class", Connection)
        options |= {"connection_class": type(kind.__name__, (ToMaster, kind), {}), "master": Master(parsed)}
    pool = BlockingConnectionPool(**options)
    make_cancel_safe(pool)
    return pool


def passes(error: Exception) -> bool:
    """True for what a caller with an idempotent command may wait out: besides RETRYABLE a store that is full, cannot
    write its disk, or lacks replicas. (6.2 wraps the script's own error, so the word may stand in the middle.)"""
    if isinstance(error, (*RETRYABLE, OutOfMemoryError)):
        return True
    return isinstance(error, ResponseError) and any(word in str(error).upper() for word in _PASSING_ANSWERS)


def transport_of(connection: Connection) -> asyncio.Transport:
    """The transport of an open connection, for a protocol of one's own: redis-py has addressed, encrypted and
    authenticated it. (5.3 has no name for it that is not private; tests/events/test_pipe.py holds it.)"""
    writer = connection._writer
    if writer is None:
        raise ConnectionError("the connection closed at once")
    return cast(asyncio.Transport, writer.transport)


async def run_id(redis: Redis) -> str:
    """Which run of which server answers: another one after a restart, a restore or a failover, each of which may have
    cost the newest writes. "unknown" where the server does not say. Raises RedisError, OSError."""
    return str((await redis.info("server")).get("run_id", "unknown"))
