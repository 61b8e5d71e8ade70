"""The audit finds what a stream passes over or shows again; and nothing where nothing is wrong."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import cast

import pytest
from redis.asyncio import Redis

from runcast_events.hub import Hub
from runcast_events.ids import AUDIT_TENANT, CANARY, DEFAULT_TENANT
from runcast_events.keys import Keyspace
from runcast_events.reader import LogReader
from runcast_gateway.audit import Auditor
from runcast_gateway.metrics import AuditMetrics, Metrics
from runcast_gateway.settings import GatewaySettings
from runcast_gateway.streams.connections import Connections
from runcast_tasks.record import Records
from runcast_worker.canary import Canary
from runcast_worker.deps import Deps
from runcast_worker.metrics import Metrics as WorkerMetrics
from tests.conftest import wait_until
from tests.gateway.running import Client, running_gateway

KEYS = Keyspace().session(AUDIT_TENANT, CANARY)


@dataclass
class Audit:
    auditor: Auditor
    metrics: Metrics
    connections: Connections

    def count(self, name: str) -> float:
        return self.metrics.registry.get_sample_value(name) or 0.0

    async def found(self) -> tuple[float, float]:
        """Lost and repeated, after a comparison."""
        await self.auditor.compare()
        return self.count("runcast_events_lost_total"), self.count("runcast_events_repeated_total")

    async def saw(self, count: int) -> None:
        await wait_until(lambda: self.count("runcast_canary_seen_total") == count, message="not seen")


@asynccontextmanager
async def auditing(redis: Redis, url: str) -> AsyncIterator[Audit]:
    """An auditor that stands at the end of the canaries' log."""
    metrics, hub = Metrics(), Hub(LogReader(redis), url, "test")
    records = Records(redis, Keyspace(), DEFAULT_TENANT)
    settings = GatewaySettings(redis_url=url, drain_s=0.1)
    connections = Connections(settings, hub=hub, reader=LogReader(redis), records=records, metrics=metrics)
    auditor = Auditor(connections, Keyspace(), AuditMetrics(metrics.registry))
    async with hub:
        running = asyncio.create_task(auditor.run())
        await wait_until(lambda: connections.live == 1, message="the auditor is not live")
        try:
            yield Audit(auditor, metrics, connections)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            assert len(connections) == 0
            await connections.end()


def singer(redis: Redis) -> Canary:
    deps = SimpleNamespace(events=redis, name="w1", metrics=WorkerMetrics(), keyspace=Keyspace())
    return Canary(cast(Deps, deps))


async def test_nothing_is_found_where_nothing_is_wrong(redis: Redis, redis_url: str) -> None:
    """Also by an auditor whose stream ends, and goes on where it was."""
    canary = singer(redis)
    await canary.sing()
    async with auditing(redis, redis_url) as audit:
        for _ in range(5):
            await canary.sing()
        await audit.saw(5)
        assert await audit.found() == (0, 0)
        audit.connections.drain()
        await wait_until(lambda: len(audit.connections) == 0, message="not drained")
        for _ in range(3):
            await canary.sing()
        await audit.saw(8)
        assert await audit.found() == (0, 0)
        assert audit.count("runcast_canary_seconds_count") == 8
        assert audit.count("runcast_canary_age_seconds") < 30
    await redis.flushdb()


@pytest.mark.parametrize("kept", [(b"first", b"third"), (b"third",)])
async def test_what_a_stream_passes_over_is_lost(redis: Redis, redis_url: str, kept: tuple[bytes, ...]) -> None:
    canary = singer(redis)
    await canary.sing()
    async with auditing(redis, redis_url) as audit:
        see, names = audit.auditor.see, iter((b"first", b"second", b"third"))

        def doctored(frames: bytes) -> None:
            if b"event: canary" not in frames or next(names) in kept:
                see(frames)

        audit.auditor.see = doctored  # type: ignore[method-assign]
        audit.connections.drain()  # the next stream's sink has it
        await wait_until(lambda: len(audit.connections) == 0, message="not drained")
        audit.connections.draining = False
        await wait_until(lambda: audit.connections.live == 1, message="the auditor did not come back")
        for _ in range(3):
            await canary.sing()
        await audit.saw(len(kept))
        assert await audit.found() == (3 - len(kept), 0)
        assert await audit.found() == (3 - len(kept), 0)  # once
    await redis.flushdb()


async def test_what_a_stream_shows_again_is_repeated(redis: Redis, redis_url: str) -> None:
    canary = singer(redis)
    await canary.sing()
    async with auditing(redis, redis_url) as audit:
        await canary.sing()
        await canary.sing()
        await audit.saw(2)
        (first, _), *_ = await redis.xrevrange(KEYS.events, count=1)
        audit.auditor.see(b"event: canary\nid: %b\ndata: {}\n\n" % first)
        assert await audit.found() == (0, 1)
    await redis.flushdb()


async def test_a_gap_that_is_told_is_no_loss(redis: Redis, redis_url: str) -> None:
    """A store that comes back without its newest events: they are gone, and the stream says so."""
    canary = singer(redis)
    await canary.sing()
    before = {name: await redis.dump(name) for name in (KEYS.events, KEYS.meta, KEYS.session)}
    async with auditing(redis, redis_url) as audit:
        for _ in range(3):
            await canary.sing()
        await audit.saw(3)
        (lost, _), *_ = await redis.xrevrange(KEYS.events, count=1)
        for name, value in before.items():
            await redis.restore(name, 0, value, replace=True)

        async def later() -> bool:
            """An epoch is a millisecond: what is appended in that of a lost one would have its id."""
            seconds, micros = await redis.time()
            return seconds * 1000 + micros // 1000 > int(lost.partition(b"-")[0])

        await wait_until(later)
        await canary.sing()
        await audit.saw(4)
        assert await audit.found() == (0, 0)
        gaps = audit.metrics.registry.get_sample_value
        assert gaps("runcast_gaps_total", {"reason": "rewound"}) == 1
    await redis.flushdb()


async def test_a_gateway_audits_itself_and_counts_no_stream_of_it(redis: Redis, redis_url: str) -> None:
    """Who holds the turn sings; the canaries are in no list of sessions, and nobody else's stream shows them."""
    one, other = singer(redis), singer(redis)
    other._name = "w2"
    assert [await one._my_turn(), await other._my_turn(), await one._my_turn()] == [True, False, True]
    await one.sing()
    async with running_gateway(redis_url) as gateway:
        assert (await gateway.stats())["connections"] == 0
        client = Client(gateway.base, f"/stream/sessions/{CANARY}")
        reading = asyncio.create_task(client.read(until="connected"))
        await reading
        assert "canary" not in client.events
    await redis.flushdb()
