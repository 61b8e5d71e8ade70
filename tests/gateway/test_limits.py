"""What a gateway does not take on: streams beyond its bounds, streams that grow old, and clients that do not read."""

import asyncio
import re
from contextlib import AsyncExitStack, suppress

import httpx2
import pytest
from redis.asyncio import Redis

from runcast_events.log import EventLog
from tests.attempts import claim, entries, submit
from tests.conftest import wait_until
from tests.gateway.raw import raw_client
from tests.gateway.running import Client, running_gateway, status_of
from tests.history import check_client

SESSION = "/stream/sessions/s1"


async def test_a_full_process_sends_clients_away_so_that_they_come_back(redis: Redis, redis_url: str) -> None:
    """EventSource gives up for good on an error, so it is told to wait; a program gets a 503. What is open goes on,
    and what closes makes room."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url, max_streams=2) as gateway:
        async with raw_client(gateway, SESSION) as first, raw_client(gateway, SESSION) as second:
            for client in (first, second):
                await client.until(b"event: task_queued")
            told = await status_of(gateway, SESSION, Accept="text/event-stream")
            retry = re.fullmatch(r"retry: (\d+)\n\n", told.text)
            assert told.status_code == 200
            assert told.headers["content-type"].startswith("text/event-stream")
            assert retry is not None
            assert 5000 <= int(retry[1]) <= 15_000
            refused = await status_of(gateway, SESSION)
            assert (refused.status_code, refused.json()["code"]) == (503, "process_full")
            assert refused.headers["retry-after"] == "5"
            assert (await status_of(gateway, "/health")).status_code == 200  # others are not streams
            assert (await gateway.stats())["connections"] == 2

        async def empty() -> bool:
            return (await gateway.stats())["connections"] == 0

        await wait_until(empty)
        again = Client(gateway.base, SESSION)
        await again.read(until="task_queued")
    await redis.flushdb()


async def test_clients_that_come_all_at_once_are_counted_all_the_same(redis: Redis, redis_url: str) -> None:
    """A place is taken before the store is asked, and given back by all who do not become a stream."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url, max_streams=3) as gateway, AsyncExitStack() as stack:
        heads = await asyncio.gather(*(status_of(gateway, f"{SESSION}?types=nonsense") for _ in range(10)))
        assert {head.status_code for head in heads} <= {400, 503}
        clients = [await stack.enter_async_context(raw_client(gateway, SESSION)) for _ in range(40)]
        await asyncio.gather(*(client.until(b"retry: ") for client in clients))
        await wait_until(lambda: sum(b"event: connected" in client.received for client in clients) == 3)
        assert (await gateway.stats())["connections"] == 3
    await redis.flushdb()


async def test_headers_are_bounded(redis: Redis, redis_url: str) -> None:
    """Nothing of them is kept beyond 64 KiB."""
    async with running_gateway(redis_url) as gateway:
        request = "GET / HTTP/1.1\r\n" + "x: y\r\n" * 20_000
        async with raw_client(gateway, SESSION, request=request) as client:
            with suppress(ConnectionResetError):
                assert b"431 Request Header Fields Too Large" in await client.to_end()


@pytest.mark.parametrize(
    "request_", ["", "GET / HTT", "GET / HTTP/1.1\r\nHost: x\r\n"], ids=["nothing", "half", "most"]
)
async def test_a_client_that_does_not_ask_is_not_waited_for(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, request_: str
) -> None:
    """It would take a file that another could use."""
    monkeypatch.setattr("runcast_gateway.transports.handover.REQUEST_S", 0.3)
    async with (
        running_gateway(redis_url) as gateway,
        raw_client(gateway, "/", request=request_) as client,
    ):
        assert await client.to_end(3) == b""


async def test_one_caller_leaves_room_for_others(redis: Redis, redis_url: str) -> None:
    """A caller is an address, until callers have names."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url, max_streams_per_principal=1) as gateway:
        port = gateway.base.rpartition(":")[2]
        async with raw_client(gateway, SESSION) as first:
            await first.until(b"event: task_queued")
            refused = await status_of(gateway, SESSION)
            assert (refused.status_code, refused.json()["code"]) == (429, "principal_full")
            transport = httpx2.AsyncHTTPTransport(local_address="127.0.0.2")
            async with (
                httpx2.AsyncClient(transport=transport, timeout=5) as other,
                other.stream("GET", f"http://127.0.0.1:{port}{SESSION}") as answer,
            ):
                assert answer.status_code == 200
                assert answer.headers["content-type"].startswith("text/event-stream")
    await redis.flushdb()


async def test_a_stream_that_grows_old_ends_and_misses_nothing(redis: Redis, redis_url: str) -> None:
    """So that clients spread over gateways that were added since."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    client = Client("", SESSION)

    async def come_back() -> None:
        while "task_complete" not in client.events:
            await client.read(until="task_complete")

    async with running_gateway(redis_url, max_age_s=1) as gateway:
        client.base = gateway.base
        coming = asyncio.create_task(come_back())
        for i in range(300):
            if client.events.count("connected") >= 3:
                break
            await attempt.append(log, attempt.output(str(i)))
            await asyncio.sleep(0.02)
        await attempt.append(log, attempt.complete())
        await coming
        assert client.data("draining")[0] == {"reason": "age"}
        check_client(client.seen, await entries(redis))


@pytest.mark.parametrize("filters", ["", "?types=output,task_started,task_complete"], ids=["shared", "filtered"])
async def test_a_slow_client_leaves_the_live_set_and_rejoins_at_the_exact_event(
    redis: Redis, redis_url: str, filters: str
) -> None:
    """Its socket fills; the others go on; it is refilled from the log as it reads, and is live again at the end."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    async with running_gateway(redis_url) as gateway:
        quick = Client(gateway.base, SESSION)
        reading = asyncio.create_task(quick.read(until="task_complete", timeout_s=30))
        async with raw_client(gateway, SESSION + filters, receive_bytes=4096) as slow:
            await slow.until(b"event: task_started")
            written = 0

            async def demoted() -> bool:
                nonlocal written
                await attempt.append(log, *(attempt.output(f"{written + i} " + "x" * 4000) for i in range(20)))
                written += 20
                return (await gateway.stats())["live"] == 1

            await wait_until(demoted, timeout_s=20)
            for i in range(100):
                await attempt.append(log, attempt.output(f"more {i} " + "y" * 4000))
            await slow.until(b"more 99 ", timeout_s=30)

            async def rejoined() -> bool:
                return (await gateway.stats())["live"] == 2

            await wait_until(rejoined)
            await attempt.append(log, attempt.output("live again"))
            await slow.until(b"live again")
            await attempt.append(log, attempt.complete())
            await slow.until(b"event: task_complete")
            await slow.until(b"\n\n")
            await reading
            whole = await entries(redis)
            check_client(quick.seen, whole)
            types = {"output", "task_started", "task_complete"} if filters else {entry.type for entry in whole}
            assert slow.ids == [str(entry.id) for entry in whole if entry.type in types]
