"""Slow clients, clients that never read, clients that come and go: every one that reads is shown exactly the log, and
the gateway keeps nothing of them."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import uvloop
from redis.asyncio import Redis

from benchmarks.figures import rss_kb
from runcast_events.redis import connect
from runcast_service.server import raise_file_limit
from tests.attempts import entries
from tests.conftest import wait_until
from tests.crowd.crowd import Size, crowd
from tests.crowd.gateways import Gateway, gateway_process
from tests.crowd.writing import writing
from tests.history import check_log

SEED = "crowd"
SLACK_KB = 10 * 1024
"""What a round may leave behind that the same round before it did not. Allocators vary by 4 MB, seldom by 8; that a
gateway keeps what it had read for slow clients that dropped makes 13 in the sample, 26 to 32 in the full crowd."""
STUCK_KB = 512
"""What a client that does not take it may hold of the gateway's memory: a replay reads about 256 KiB at a time."""
READER_KB = 40


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate`: bytes a second and session. What is written must exceed what the gateway shares of the present, 512 KB,
    and what kernels hold for a slow client. `mean_life_s`: of a connection, until its reader drops it. `event`: bytes
    of one, at the most."""

    size: Size
    sessions: int
    seconds: float
    rate: float
    mean_life_s: float
    event: int = 48 * 1024
    send_timeout_s: float = 4
    """Two thousand clients in one process may well be seconds late on a loaded machine."""


SAMPLE = Plan(Size(123, slow=20, deaf=3), sessions=3, seconds=2, rate=1_200_000, mean_life_s=0.8)
FULL = Plan(Size(2000, slow=200, deaf=20), sessions=6, seconds=30, rate=120_000, mean_life_s=15, send_timeout_s=12)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(SAMPLE, id="sample"),
        pytest.param(FULL, id="full", marks=[pytest.mark.full, pytest.mark.alone, pytest.mark.timeout(400)]),
    ],
)
def test_a_slow_crowd_is_shown_the_log_and_leaves_nothing_behind(redis: Redis, redis_url: str, plan: Plan) -> None:
    """Two rounds alike: what the first leaves of the gateway's memory is its baseline, and the second adds nothing."""
    raise_file_limit(2 * plan.size.clients + 1000)
    uvloop.run(_rounds(redis_url, plan))


async def _rounds(redis_url: str, plan: Plan) -> None:
    redis = connect(redis_url, "test")
    try:
        async with gateway_process(redis_url, send_timeout_s=plan.send_timeout_s) as gateway:
            await _round(redis, gateway, plan, "first")
            baseline_kb = rss_kb(gateway.pid)
            async with largest(gateway) as sizes_kb:
                await _round(redis, gateway, plan, "second")
            peak_kb = max(sizes_kb)
            stuck = plan.size.slow + plan.size.deaf
            most_kb = baseline_kb + STUCK_KB * stuck + READER_KB * plan.size.clients
            assert peak_kb <= most_kb, f"{peak_kb} KB with slow clients, from {baseline_kb} KB"
            await wait_until(
                lambda: rss_kb(gateway.pid) <= baseline_kb + SLACK_KB,
                15,
                f"the gateway keeps {SLACK_KB} KB more than after the first round, {baseline_kb} KB",
            )
            print(f"memory, KB: {baseline_kb} before, {peak_kb} at most, {rss_kb(gateway.pid)} after")
    finally:
        await redis.aclose()


@asynccontextmanager
async def largest(gateway: Gateway) -> AsyncIterator[list[int]]:
    """The gateway's memory while the block runs, KB."""
    sizes_kb: list[int] = []

    async def look() -> None:
        while True:
            sizes_kb.append(rss_kb(gateway.pid))
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    try:
        yield sizes_kb
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)


async def _round(redis: Redis, gateway: Gateway, plan: Plan, name: str) -> None:
    """A crowd comes, is written to, and goes."""
    session_ids = [f"{name}-{number}" for number in range(plan.sessions)]
    async with crowd(gateway.port, session_ids, plan.size, f"{SEED} {name}") as people:
        async with writing(redis, session_ids, random.Random(f"{SEED} {name}"), plan.event) as pen:
            fast, slow, readers = len(people.fast), len(people.slow), len(people.readers)
            await _reach(gateway, lambda live, there: live == there >= readers, "all are live")
            people.restless(plan.mean_life_s)
            await pen.write(plan.seconds, plan.rate)
            people.restless(None)
            await _reach(
                gateway, lambda live, there: fast <= live <= there - slow and there >= readers, "the slow ones left"
            )
            people.hurry()
            await pen.write(1, plan.rate / 4)
            await _reach(
                gateway, lambda live, there: live == there == readers, "all that read are live again, no other is there"
            )
            await pen.write(0.5, plan.rate / 4)
        logs = {session_id: await entries(redis, session_id) for session_id in session_ids}
        for log in logs.values():
            check_log(log)
        await people.have({session_id: log[-1].id for session_id, log in logs.items()}, 30)
        people.check(logs)
        for kind, some in (("slow", people.slow), ("fast", people.fast)):
            ended = sum((reader.endings for reader in some), Counter[str]())
            assert set(ended) <= {"dropped"}, f"{kind} clients were not left alone: {ended}"
        shown = sum(len(reader.seen) for reader in people.readers)
        print(f"{name}: {pen.written} bytes to a session, {shown} events shown, endings {dict(people.endings)}")
    await _reach(gateway, lambda live, there: live == there == 0, "nobody is there")


async def _reach(gateway: Gateway, holds: Callable[[int, int], bool], message: str) -> None:
    """Wait until it holds of how many streams are live, and how many are there."""
    stats: dict[str, int] = {}

    async def reached() -> bool:
        await asyncio.sleep(0.05)  # an answer costs the gateway more than a stream
        stats.update(await gateway.stats())
        return holds(stats["live"], stats["connections"])

    try:
        await wait_until(reached, 30)
    except AssertionError:
        raise AssertionError(f"never so: {message}; {stats}") from None
