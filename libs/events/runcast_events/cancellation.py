"""Connections on which a cancellation is never lost.

redis-py (5.3) sends inside `asyncio.wait_for`, which before Python 3.12 swallows a cancellation that arrives in the
turn in which the send ends (https://github.com/python/cpython/issues/86296). Whoever was cancelled then goes on, and
whoever waits for its end waits for ever: one command in some hundreds, under load.
"""

import asyncio
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection


class CancelSafe(AbstractConnection):
    """Mixed into the connection class of a pool."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        task = asyncio.current_task()
        asked = task.cancelling() if task else 0
        await super().send_packed_command(command, check_health)
        if task and task.cancelling() > asked:
            await self.disconnect(nowait=True)  # the command is sent, and nobody will read its reply
            raise asyncio.CancelledError


def make_cancel_safe(pool: ConnectionPool) -> None:
    """Whatever kind of connection the pool's URL asks for: TCP, TLS or a Unix socket."""
    kind = pool.connection_class
    pool.connection_class = type(kind.__name__, (CancelSafe, kind), {})
