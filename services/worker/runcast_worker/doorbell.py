"""The doorbell: arq's worker, with a loop of ours.

arq's own loop sleeps half a second between looks and dies of the first connection error; this one waits for the wake
channel and waits outages out. What a ring means is decided by the claim, so arq's leases, retries and results are not
used as guarantees. Why: docs/decisions/0003-arq-is-a-doorbell.md.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from math import isfinite
from time import monotonic
from typing import Any

from arq.constants import in_progress_key_prefix, job_key_prefix, retry_key_prefix
from arq.utils import timestamp_ms
from arq.worker import Retry, Worker, func
from redis.asyncio import Redis
from redis.exceptions import RedisError

from runcast_events.errors import InvalidId
from runcast_events.ids import check_task_id, check_tenant
from runcast_events.subscriber import Subscriber
from runcast_tasks.errors import LastChance
from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import FUNCTION, RING_LIFE_S, arq_pool, deserialize, serialize

logger = logging.getLogger(__name__)

Answer = Callable[[str, str, Callable[[], Awaitable[None]]], Awaitable[None]]
"""`(tenant, task id, claimed)`: look at the task's session; call `claimed` once there is something to run."""

STARTING_S = 1.0
"""arq's own lease on a ring: it only has to last from the poll to the claim, which takes the ring away. Of a worker
that is killed in between it keeps everybody else from the ring; where it lapses too early the claim decides."""
BACKOFF_S = (0.1, 2.0)
LATER_S = 0.5
"""A task that this worker cannot run beside another one is rung for again then, for whichever worker looks first."""
STOP_S = 4.0
LOOK_S = 0.5
"""A look at the queue, and the starts it leads to, get this long to end when a drain begins."""


class Doorbell(Worker):
    """Answers rings, at most `max_jobs` at a time."""

    def __init__(
        self, redis: Redis, keys: QueueKeys, name: str, answer: Answer, *, max_jobs: int, poll_delay_s: float
    ) -> None:
        super().__init__(
            [func(self._ring, name=FUNCTION)],
            queue_name=keys.arq,
            redis_pool=arq_pool(redis, keys),
            handle_signals=False,
            max_jobs=max_jobs,
            # Finite on purpose: without a timeout arq believes a starting job for ten seconds only.
            job_timeout=RING_LIFE_S,
            keep_result=0,
            max_tries=1_000_000,
            poll_delay=poll_delay_s,
            # Rings that wait behind this many others are not seen by a poll.
            queue_read_limit=1000,
            health_check_interval=10,
            health_check_key=f"{keys.prefix}health:{name}",
            allow_abort_jobs=False,
            job_serializer=serialize,
            job_deserializer=deserialize,
            expires_extra_ms=RING_LIFE_S * 1000,
            log_results=False,
        )
        self.in_progress_timeout_s = STARTING_S
        self._answer = answer
        self._rung = asyncio.Event()
        self._refused: dict[str, float] = {}  # until when, monotonic, by job

    def wake(self) -> None:
        """Look now."""
        self._rung.set()

    def wake_channel(self, url: str, name: str, keys: QueueKeys) -> Subscriber:
        """What wakes this doorbell; its owner runs it. A new subscription wakes too: rings may have been missed."""
        subscriber = Subscriber(url, name, lambda _channel, _data: self.wake(), lambda _channel: self.wake())
        subscriber.subscribe(keys.wake.encode())
        return subscriber

    async def main(self) -> None:
        """The one loop: look, then wait for a ring or the poll delay. Ends by the drain."""
        self.main_task = asyncio.current_task()
        pause_s = BACKOFF_S[0]
        while self.allow_pick_jobs:
            self._rung.clear()
            try:
                await self._poll_iteration()
            except (RedisError, OSError) as error:
                logger.warning("the queue store does not answer: %s", str(error) or type(error).__name__)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, BACKOFF_S[1])
                continue
            pause_s = BACKOFF_S[0]
            try:
                async with asyncio.timeout(self.poll_delay_s):
                    await self._rung.wait()
            except TimeoutError:
                pass

    async def drain(self, drain_s: float, hurry: asyncio.Event) -> None:
        """Answer no more rings; give the running ones `drain_s`, then set `hurry` and give them four seconds more. What
        still runs then is cancelled. Idempotent."""
        self.allow_pick_jobs = False
        self.wake()
        if self.main_task is not None:  # what it is about to start must have started
            await asyncio.wait({self.main_task}, timeout=LOOK_S)
            self.main_task.cancel()  # it hangs in a store that is away
            await asyncio.wait({self.main_task}, timeout=LOOK_S)
        if await self._ended(drain_s):
            return
        hurry.set()
        if await self._ended(STOP_S):
            return
        for task in self.tasks.values():
            task.cancel()
        await self._ended(STOP_S)

    async def start_jobs(self, job_ids: list[bytes]) -> None:
        """Not arq's own: that one gives a slot back twice, or never, when the store fails between its commands, and
        does not see that a drain has begun. Here a slot is taken when the job starts, with no wait between."""
        for raw in job_ids:
            if not self.allow_pick_jobs or self.job_counter >= self.max_jobs:
                return
            await self._start(raw)

    async def _start(self, raw: bytes) -> None:
        score = await self.pool.zscore(self.queue_name, raw)
        if score is None or score > timestamp_ms():
            return  # another worker has claimed it, or put it off; by the clock that arq rounded
        if not raw.isascii() or not isfinite(score):
            logger.error("a ring that nobody of ours rang: %r at %s", raw[:80], score)
            await self._drop(raw)
            return
        job_id, lease_ms = raw.decode(), int(self.in_progress_timeout_s * 1000)
        if self._refused.get(job_id, 0.0) > monotonic():
            return  # others first: who refused it looks again just when it comes up, and would always be the first
        if job_id in self.tasks and not self.tasks[job_id].done():
            return  # it runs here, and could not be taken out of the queue when it was claimed
        if not await self.pool.set(in_progress_key_prefix + job_id, b"1", px=lease_ms, nx=True):
            return  # another worker is starting it
        if await self.pool.zscore(self.queue_name, raw) is None:
            # Another worker has answered it since we looked: arq would take what is left of it for an expired job.
            await self.pool.delete(in_progress_key_prefix + job_id)
            return
        await self.sem.acquire()  # never waits: arq counts in both, and the counter was looked at
        self.job_counter += 1
        task = asyncio.create_task(self.run_job(job_id, int(score)), name=f"ring {job_id}")
        task.add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())
        self.tasks[job_id] = task

    async def run_job(self, job_id: str, score: int) -> None:
        """Raises nothing: arq would end the whole worker with it, and every other that reads the same ring."""
        try:
            await super().run_job(job_id, score)
        except (RedisError, OSError) as error:
            logger.warning("a ring waits for the queue store: %s", str(error) or type(error).__name__)
        except Exception:
            logger.exception("a ring that cannot be read is dropped")
            try:
                await self._drop(job_id.encode())
            except (RedisError, OSError) as error:
                logger.warning("it comes again: %s", str(error) or type(error).__name__)

    async def _drop(self, raw: bytes) -> None:
        await self.pool.zrem(self.queue_name, raw)
        prefixes = (job_key_prefix, retry_key_prefix, in_progress_key_prefix)
        await self.pool.delete(*(prefix.encode() + raw for prefix in prefixes))

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self.wake()  # a slot is free: somebody may wait for it

    async def _ended(self, timeout_s: float) -> bool:
        deadline = monotonic() + timeout_s
        while running := [task for task in self.tasks.values() if not task.done()]:
            rest = deadline - monotonic()
            if rest <= 0:
                return False
            await asyncio.wait(running, timeout=rest)
        return True

    async def _ring(self, ctx: dict[str, Any], tenant: str, task_id: str) -> None:
        async def claimed() -> None:
            # A ring whose task runs must neither hide those behind it nor be answered again.
            try:
                await self.pool.zrem(self.queue_name, ctx["job_id"])
            except (RedisError, OSError) as error:
                logger.warning("a claimed ring stays in the queue: %s", error, extra={"task_id": task_id})

        if not self.allow_pick_jobs:
            raise Retry  # for another worker: this one drains
        try:
            await self._answer(check_tenant(tenant), check_task_id(task_id), claimed)
        except InvalidId:
            logger.exception("a ring that nobody of ours rang")
        except LastChance as waits:
            logger.info("%s", waits)
            now = monotonic()
            self._refused = {job: until for job, until in self._refused.items() if until > now}
            self._refused[ctx["job_id"]] = now + 3 * LATER_S
            raise Retry(defer=LATER_S) from waits
        except (RedisError, OSError) as error:
            logger.warning("the events store does not answer: %s", error, extra={"task_id": task_id})
            raise Retry(defer=1) from error
