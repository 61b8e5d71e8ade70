"""The canary: an event now and then, in a log of its own, that every gateway has to show (runcast_gateway/audit.py).

One worker of all sings at a time: who holds the key. Two that do so for a moment do no harm.
"""

import asyncio
import logging
import secrets

from redis.exceptions import RedisError

from runcast_events.codec import Envelope
from runcast_events.errors import EventsError
from runcast_events.events import Canary as Sang
from runcast_events.events import SessionCreated
from runcast_events.ids import AUDIT_TENANT, CANARY
from runcast_events.log import EventLog, LogLimits
from runcast_worker.deps import Deps

logger = logging.getLogger(__name__)

EVERY_S = 2.0
LIMITS = LogLimits(max_bytes=1024 * 1024, max_entries=5000, ttl_s=365 * 24 * 3600)


class Canary:
    """One per process."""

    def __init__(self, deps: Deps) -> None:
        self._events, self._name, self._appended = deps.events, deps.name, deps.metrics.canaries
        self._log = EventLog(deps.events, LIMITS)
        self._keys = deps.keyspace.session(AUDIT_TENANT, CANARY)
        self._turn = deps.keyspace.canary

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                if await self._my_turn():
                    await self.sing()
            except (RedisError, OSError, EventsError) as error:
                logger.debug("no canary: %s", error)
            await asyncio.sleep(EVERY_S)

    async def sing(self) -> None:
        """Raises RedisError, OSError, EventsError."""
        envelope = Envelope(CANARY)
        # The store drops the first where the session is there.
        batch = [envelope.encode(SessionCreated()), envelope.encode(Sang(worker=self._name))]
        await self._log.append_control(self._keys, secrets.token_hex(8), batch)
        self._appended.inc()

    async def _my_turn(self) -> bool:
        """Whether this worker is the one, for three songs at least."""
        for_ms = int(3 * EVERY_S * 1000)
        if await self._events.set(self._turn, self._name, nx=True, px=for_ms):
            return True
        if await self._events.get(self._turn) != self._name.encode():
            return False
        await self._events.pexpire(self._turn, for_ms)
        return True
