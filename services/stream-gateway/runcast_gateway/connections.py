"""All streams of this process: counted, ticked, timed out, drained."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from runcast_gateway.connection import Connection

TICK_S = 1.0


class Connections:
    """The registry. `run` is its one loop. `draining` is set at SIGTERM and never cleared."""

    def __init__(self, *, send_timeout_s: float, drain_s: float) -> None:
        self._send_timeout_s, self._drain_s = send_timeout_s, drain_s
        self._open: dict[Connection, asyncio.Task[object]] = {}
        self.timed_out: set[Connection] = set()
        self.draining = False

    @contextmanager
    def joined(self, connection: Connection) -> Iterator[None]:
        task = asyncio.current_task()
        assert task is not None
        self._open[connection] = task
        try:
            yield
        finally:
            del self._open[connection]
            self.timed_out.discard(connection)

    async def run(self) -> None:
        """Heartbeats and send timeouts of all connections, from one timer."""
        while True:
            await asyncio.sleep(TICK_S)
            now = monotonic()
            for connection, task in list(self._open.items()):
                connection.tick(now)
                since = connection.sending_since
                if since is not None and now - since > self._send_timeout_s and connection not in self.timed_out:
                    self.timed_out.add(connection)
                    task.cancel()

    def drain(self) -> None:
        """End all streams, spread over the drain time so that their clients do not come back all at once."""
        self.draining = True
        loop = asyncio.get_running_loop()
        for connection in self._open:
            loop.call_later(random.uniform(0, self._drain_s), connection.close, "draining")  # noqa: S311 - spread

    def __len__(self) -> int:
        return len(self._open)

    @property
    def live(self) -> int:
        return sum(connection.live for connection in self._open)
