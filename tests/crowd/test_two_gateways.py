"""Two gateways behind a balancer, under load: one is killed, one is drained and replaced. No client loses an event or
is shown one twice."""

import asyncio
import random
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
import uvloop
from redis.asyncio import Redis

from runcast_events.redis import connect
from runcast_service.server import raise_file_limit
from tests.attempts import entries
from tests.conftest import wait_until
from tests.crowd.balancer import Balancer, balancing
from tests.crowd.crowd import Size, crowd
from tests.crowd.gateways import Gateway, gateway_process
from tests.crowd.writing import writing
from tests.history import check_log

SEED = "two gateways"
DRAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`rate`: bytes a second and session, in events of up to `event` bytes. `seconds`: of writing around each thing
    that happens. `times`: that a gateway is killed and one is drained."""

    size: Size
    sessions: int
    times: int
    rate: float
    seconds: float
    event: int = 2000


SAMPLE = Plan(Size(40, slow=4), sessions=4, times=1, rate=100_000, seconds=0.5)
FULL = Plan(Size(500, slow=20), sessions=20, times=3, rate=30_000, seconds=2)


@pytest.mark.parametrize(
    "plan",
    [
        pytest.param(SAMPLE, id="sample"),
        pytest.param(FULL, id="full", marks=[pytest.mark.full, pytest.mark.alone, pytest.mark.timeout(300)]),
    ],
)
def test_clients_of_gateways_that_are_killed_and_drained_lose_nothing(redis: Redis, redis_url: str, plan: Plan) -> None:
    """The killed one's clients see a stream that broke off, the drained one's are told to come back; all do."""
    raise_file_limit(4 * plan.size.clients + 1000)
    uvloop.run(_load(redis_url, plan))


async def _load(redis_url: str, plan: Plan) -> None:
    session_ids = [f"s{number}" for number in range(plan.sessions)]
    async with AsyncExitStack() as stack:
        redis = connect(redis_url, "test")
        stack.push_async_callback(redis.aclose)
        balancer = await stack.enter_async_context(balancing())
        pair = Pair(stack, redis_url, balancer)
        for _ in range(2):
            await pair.start()
        people = await stack.enter_async_context(crowd(balancer.port, session_ids, plan.size, SEED))
        assert len(balancer.relayed) == 2, "the balancer does not balance"
        async with writing(redis, session_ids, random.Random(SEED), plan.event) as pen:
            for _ in range(plan.times):
                await asyncio.gather(pen.write(plan.seconds, plan.rate), pair.kill(plan.seconds / 2))
                await asyncio.gather(pen.write(plan.seconds, plan.rate), pair.start())
                await wait_until(lambda: all(each.connected for each in people.readers), 20, "not all came back")
                await asyncio.gather(pen.write(plan.seconds, plan.rate), pair.drain(plan.seconds / 2))
                await asyncio.gather(pen.write(plan.seconds, plan.rate), pair.start())
                await wait_until(lambda: all(each.connected for each in people.readers), 20, "not all came back")
            people.hurry()
        logs = {session_id: await entries(redis, session_id) for session_id in session_ids}
        for log in logs.values():
            check_log(log)
        await people.have({session_id: log[-1].id for session_id, log in logs.items()}, 30)
        people.check(logs)
        shown = sum(len(reader.seen) for reader in people.readers)
        print(f"{pair.killed} streams broken, {pair.drained} drained, {shown} events shown, {dict(people.endings)}")
        ends = people.endings
        assert not any(item.gap for reader in people.readers for item in reader.seen)
        assert ends["broken"] >= pair.killed > 0, f"a killed gateway's streams did not break off: {ends}"
        assert ends["complete after draining"] > 0, f"nobody was told of a drain: {ends}"
        assert ends["broken"] + ends["complete after draining"] == pair.killed + pair.drained, f"{ends}"


class Pair:
    """The gateways behind a balancer, the oldest first. `killed`, `drained`: streams that were open there."""

    def __init__(self, stack: AsyncExitStack, redis_url: str, balancer: Balancer) -> None:
        self._stack, self._redis_url, self._balancer = stack, redis_url, balancer
        self._gateways: list[Gateway] = []
        self.killed = self.drained = 0

    async def start(self) -> None:
        gateway = await self._stack.enter_async_context(gateway_process(self._redis_url, drain_s=DRAIN_S))
        self._gateways.append(gateway)
        self._balancer.backends.append(gateway.port)

    async def kill(self, after_s: float) -> None:
        """SIGKILL, in the midst of what is being written."""
        await asyncio.sleep(after_s)
        gateway = self._gateways.pop(0)
        self.killed += (await gateway.stats())["connections"]
        await gateway.kill()
        self._balancer.backends.remove(gateway.port)

    async def drain(self, after_s: float) -> None:
        """SIGTERM, as a deployment does it. The balancer finds out by itself."""
        await asyncio.sleep(after_s)
        gateway = self._gateways.pop(0)
        self.drained += (await gateway.stats())["connections"]
        assert await gateway.drain() == -signal.SIGTERM
        self._balancer.backends.remove(gateway.port)
