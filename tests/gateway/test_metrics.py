"""What a gateway counts agrees with the log and with what its clients were shown."""

import asyncio

import httpx2
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis

from runcast_events.log import EventLog
from runcast_local.store import free_port
from tests.attempts import Attempt, session_keys
from tests.conftest import wait_until
from tests.gateway.running import Client, running_gateway


async def scraped(port: int) -> dict[str, float]:
    """As Prometheus would: sample with its labels -> value."""
    async with httpx2.AsyncClient() as http:
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    return {
        f"{sample.name}{sorted(sample.labels.items())}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("runcast_")
    }


async def test_every_event_that_a_client_was_shown_is_counted_once(
    redis: Redis, redis_url: str, started: Attempt
) -> None:
    """Of the past or live; and how long it took, and that nobody is behind any more."""
    log, port = EventLog(redis), free_port()
    for number in range(20):
        await started.append(log, started.output(f"past {number}"))
    async with running_gateway(redis_url, admin_port=port) as gateway:
        client = Client(gateway.base, "/stream/sessions/s1", cursor="0-0")
        reading = asyncio.create_task(client.read(until="task_complete"))
        await wait_until(lambda: client.events.count("output") == 20)
        for number in range(10):
            await started.append(log, started.output(f"live {number}"))
        await started.append(log, started.complete())
        await reading
        found = await scraped(port)
        live = found["runcast_events_delivered_total[('dialect', 'sse')]"]
        assert live >= 11
        shown = len(client.seen)
        assert found["runcast_events_replayed_total[]"] + live == shown == await redis.xlen(session_keys().events)
        assert found["runcast_delivery_seconds_count[('dialect', 'sse')]"] >= 1
        assert found["runcast_replay_seconds_count[]"] == 1
        assert found["runcast_slowest_lag_seconds[]"] == 0
        assert found["runcast_streams_opened_total[('kind', 'session')]"] == 1
        assert found["runcast_events_delivered_total[('dialect', 'ndjson')]"] == 0
    await redis.flushdb()
