"""Claim and lease: who may run a task, and for how long that is believed.

The fence (a number that every claim raises, and a random) is the proof, checked by the append script. The lease only
tells others when to stop waiting; it is renewed, and an attempt that cannot renew it stops itself before it lapses.
"""

import asyncio
import logging
import secrets
from dataclasses import dataclass
from time import monotonic

from redis.asyncio import Redis
from redis.exceptions import RedisError

from runcast_events.keys import Keyspace
from runcast_events.log import Hold
from runcast_events.script import Script
from runcast_tasks.errors import LastChance, LeaseLapsed, LeaseLost
from runcast_tasks.record import TaskRecord, decode_hash, parse_record

logger = logging.getLogger(__name__)

MAX_CRASHES = 3
"""A task whose workers vanished this often is given up."""
RENEWALS_PER_TTL = 3
SELF_STOP = 0.8
"""Part of the TTL after which an attempt without renewal stops itself: before anybody else may believe it gone."""
ONE_TRY = 0.4
"""Part of the time that is left which one renewal may take: a connection that hangs must leave time for another."""
ASK_AGAIN_S = 0.1
"""Pause while the store is away: one that comes back for moments only must be met in one of them."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that is ours to run: the record as it was when claimed, and the hold that proves it."""

    record: TaskRecord
    hold: Hold
    claimed_at: float
    """Monotonic seconds from before the claim was sent: the lease is believed from here."""


class Claims:
    """Claims tasks of one store for one worker process. `renewals`: a client that does not repeat by itself, for then
    its back-off, not ours, would say when the store is asked; without one, `redis` renews too."""

    def __init__(
        self, redis: Redis, keyspace: Keyspace, worker: str, lease_ttl_s: float, renewals: Redis | None = None
    ) -> None:
        self._keyspace, self._worker, self._lease_ttl_s = keyspace, worker, lease_ttl_s
        self._claim = Script.packaged(redis, "runcast_tasks", "claim.lua")
        self._renew = Script.packaged(renewals or redis, "runcast_tasks", "renew.lua")

    async def claim(self, tenant: str, session_id: str, *, last_chance: bool = True) -> Claim | None:
        """The session's head task, or None when there is nothing to run: at rest, held, paused, or deleted.
        `last_chance`: also one that the next crash would end; else that raises LastChance, and nothing is claimed."""
        keys = self._keyspace.session(tenant, session_id)
        claimed_at, lease_ms = monotonic(), int(self._lease_ttl_s * 1000)
        answer = await self._claim(
            keys=[keys.meta, keys.queue, keys.tasks, keys.lease],
            args=[secrets.token_hex(8), self._worker, lease_ms, "" if last_chance else MAX_CRASHES - 1],
        )
        if answer[0] == b"LATER":
            raise LastChance(answer[1].decode())
        if answer[0] != b"OK":
            logger.debug("nothing to claim: %s", answer[1].decode(), extra={"session_id": session_id})
            return None
        task_id, fence, raw = answer[1].decode(), answer[2].decode(), answer[3]
        record = decode_hash(dict(zip(raw[::2], raw[1::2], strict=True)))
        return Claim(parse_record(record), Hold(keys, task_id, fence, record, lease_ms), claimed_at)

    async def keep(self, claim: Claim, over: asyncio.Event | None = None) -> None:
        """Renew the lease until cancelled. Raises LeaseLost when it is another's, LeaseLapsed when it could not be
        renewed in time. `over`: set once the attempt has handed its last event over, which gives the lease back; it is
        not renewed from then on, and only the time counts."""
        hold, over = claim.hold, over or asyncio.Event()
        renewed_at, interval_s = claim.claimed_at, self._lease_ttl_s / RENEWALS_PER_TTL
        pause_s = interval_s
        while True:
            await asyncio.sleep(min(pause_s, max(0.0, self._deadline(renewed_at) - monotonic())))
            asked_at = monotonic()
            answer = b"" if over.is_set() else await self._ask(hold, (self._deadline(renewed_at) - asked_at) * ONE_TRY)
            if answer == b"LOST" and not over.is_set():
                raise LeaseLost(f"the lease of {hold.task_id} is another's")
            if answer in (b"KEPT", b"RETAKEN"):
                renewed_at, pause_s = asked_at, interval_s
            elif monotonic() >= self._deadline(renewed_at):
                raise LeaseLapsed(f"the lease of {hold.task_id} could not be renewed in time")
            else:
                pause_s = min(ASK_AGAIN_S, interval_s / 10)  # the store is away or was rewound

    async def _ask(self, hold: Hold, timeout_s: float) -> bytes:
        """The store's answer to a renewal; empty where there is none in time."""
        keys = [hold.keys.lease, hold.keys.task(hold.task_id)]
        try:
            async with asyncio.timeout(max(0.05, timeout_s)):
                answer: bytes = await self._renew(keys=keys, args=[hold.task_id, hold.fence, hold.lease_ms])
        except (RedisError, OSError) as error:  # TimeoutError is an OSError
            logger.warning("lease not renewed: %s", str(error) or "timed out", extra={"task_id": hold.task_id})
            return b""
        return answer

    def _deadline(self, renewed_at: float) -> float:
        return renewed_at + self._lease_ttl_s * SELF_STOP
