"""What a lapsed lease says of its worker: that it vanished; after an outage, or where a store lost leases, nothing."""

from time import monotonic

from redis.asyncio import Redis

from runcast_events.redis import run_id

SETTLE_S = 7.0
"""After an outage every worker's commands have been tried again by then: a timeout of theirs and a pause."""


class Trust:
    """One reaper's. `lease_ttl_s`: after an outage attempts first get so long to renew their leases, or to give their
    tasks up."""

    def __init__(self, redis: Redis, lease_ttl_s: float) -> None:
        self._redis, self._settle_s = redis, max(SETTLE_S, lease_ttl_s)
        self._from = self._met_until = 0.0  # monotonic
        self._met = ""

    async def meet(self) -> None:
        """A server that was restarted, restored or promoted may have lost the leases of attempts that live: also when
        that was too quick for a command to fail. Raises RedisError, OSError."""
        met = await run_id(self._redis)
        if self._met not in ("", met):
            self.lose()
            self._met_until = self._from
        self._met = met

    def lose(self) -> None:
        """The store, or this process, stood still: so may others."""
        self._from = monotonic() + self._settle_s

    @property
    def left_s(self) -> float:
        """Until leases are believed; 0: they are."""
        return max(0.0, self._from - monotonic())

    @property
    def just_met(self) -> bool:
        """Its server was met a moment ago. One that was restored may have lost the end of an attempt that now has no
        lease: nobody will be able to tell whether that one's worker vanished."""
        return monotonic() < self._met_until
