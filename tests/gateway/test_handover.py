"""transports/: a stream has the socket's own transport, whatever the client's HTTP, and does without where it must."""

import asyncio
from contextlib import suppress

import pytest
from redis.asyncio import Redis
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runcast_events.log import EventLog
from runcast_gateway.transports.handover import StreamProtocol
from runcast_local.store import Store
from tests.attempts import Attempt, entries
from tests.conftest import wait_until
from tests.gateway.raw import GET, raw_client
from tests.gateway.running import Client, Gateway, running_gateway
from tests.proxy import running_proxy

SESSION = "/stream/sessions/s1"


async def transports(gateway: Gateway) -> object:
    return (await gateway.stats())["transports"]


async def all_gone(gateway: Gateway) -> bool:
    stats = await gateway.stats()
    return (stats["connections"], stats["channels"]) == (0, 0)


@pytest.mark.parametrize(
    ("http", "expected"),
    [(StreamProtocol, {"handover": 1, "asgi": 0}), (HttpToolsProtocol, {"handover": 0, "asgi": 1})],
    ids=["handed over", "through send"],
)
async def test_the_same_frames_whichever_way(
    redis: Redis, redis_url: str, started: Attempt, http: type[asyncio.Protocol], expected: dict[str, int]
) -> None:
    """Replayed, live, and the end; stats tell the way."""
    log = EventLog(redis)
    async with running_gateway(redis_url, http=http) as gateway:
        client = Client(gateway.base, f"/stream/tasks/{started.hold.task_id}")
        reading = asyncio.create_task(client.read())
        await wait_until(lambda: "task_started" in client.events)
        assert await transports(gateway) == expected
        for i in range(20):
            await started.append(log, started.output(str(i)))
        await started.append(log, started.complete())
        await reading
        written = [entry for entry in await entries(redis) if entry.task_id]
        assert [(seen.id, seen.payload) for seen in client.seen] == [(entry.id, entry.payload) for entry in written]
        assert client.events[-2:] == ["task_complete", "end"]
        await wait_until(lambda: all_gone(gateway))


async def test_a_client_of_http_1_0_is_sent_no_chunks(redis: Redis, redis_url: str, started: Attempt) -> None:
    """It knows none; its stream ends with the connection."""
    log = EventLog(redis)
    request = GET.replace("HTTP/1.1", "HTTP/1.0")
    async with (
        running_gateway(redis_url) as gateway,
        raw_client(gateway, f"/stream/tasks/{started.hold.task_id}", request=request) as client,
    ):
        await client.until(b"event: task_started")
        await started.append(log, started.output("a"), started.complete())
        head, _, body = (await client.to_end()).partition(b"\r\n\r\n")
        assert b"chunked" not in head.lower()
        assert body.startswith(b"retry: ")
        assert body.endswith(b"\n\n")
        assert b"\r" not in body
        assert client.ids == [str(entry.id) for entry in await entries(redis) if entry.task_id]


async def test_a_stream_ends_so_that_a_reader_can_tell_it_from_a_cut(
    redis: Redis, redis_url: str, started: Attempt
) -> None:
    """The last chunk is the empty one."""
    log = EventLog(redis)
    async with (
        running_gateway(redis_url) as gateway,
        raw_client(gateway, f"/stream/tasks/{started.hold.task_id}") as client,
    ):
        await client.until(b"event: task_started")
        await started.append(log, started.complete())
        assert (await client.to_end()).endswith(b"\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize(
    "more",
    ["GET /health HTTP/1.1\r\nHost: x\r\n\r\n", f"GET {SESSION} HTTP/1.1\r\nHost: x\r\n\r\n" * 50],
    ids=["a request", "fifty"],
)
async def test_what_a_client_sends_after_its_request_harms_nothing(
    redis: Redis, redis_url: str, started: Attempt, more: str
) -> None:
    """With the request or later; the stream goes on, and the client's leaving is heard."""
    log = EventLog(redis)
    async with running_gateway(redis_url) as gateway:
        async with raw_client(gateway, SESSION, request=GET + more) as client:
            await client.until(b"event: task_started")
            client.writer.write(b"x" * 100_000)
            await started.append(log, started.output("after"))
            await client.until(b"after")
            assert client.received.count(b"HTTP/1.1") == 1
        await wait_until(lambda: all_gone(gateway))


@pytest.mark.parametrize("noise", ["\x00" * 200_000, "GET / HTTP/1.1\r\nHost: x\r\n\r\n HTTP/1.1\r\n\r\n"])
async def test_noise_after_a_request_leaves_nothing_behind(
    redis: Redis, redis_url: str, started: Attempt, noise: str
) -> None:
    """The server has closed the connection before the stream can begin; nobody is streamed to."""
    async with running_gateway(redis_url) as gateway:
        async with raw_client(gateway, SESSION, request=GET + noise) as client:
            with suppress(ConnectionResetError):
                assert b"400 Bad Request" in await client.to_end()
        await wait_until(lambda: all_gone(gateway), timeout_s=2)


async def test_a_request_with_a_body_is_streamed_to_all_the_same(
    redis: Redis, redis_url: str, started: Attempt
) -> None:
    """However odd a GET with a body is; a transport that was paused for it reads on."""
    log = EventLog(redis)
    async with running_gateway(redis_url) as gateway:
        more = f"Content-Length: {300_000}\r\n"
        async with raw_client(gateway, SESSION, more=more) as client:
            client.writer.write(b"y" * 300_000)
            await client.until(b"event: task_started")
            await started.append(log, started.output("after"))
            await client.until(b"after")
        await wait_until(lambda: all_gone(gateway))


async def test_a_client_that_closed_its_own_side_still_reads(redis: Redis, redis_url: str, started: Attempt) -> None:
    """`printf ... | nc` does so; it listens, and the stream goes on. That it has left then shows at a heartbeat."""
    log = EventLog(redis)
    async with running_gateway(redis_url, heartbeat_s=1) as gateway:
        async with raw_client(gateway, SESSION) as client:
            await client.until(b"event: task_started")
            client.writer.write_eof()
            await client.until(b":\n")  # the gateway finds out whether anybody is left
            for i in range(5):
                await started.append(log, started.output(f"after {i}"))
            await client.until(b"after 4")
            assert client.ids == [str(entry.id) for entry in await entries(redis)]
        await wait_until(lambda: all_gone(gateway))


async def test_a_client_that_closes_its_side_with_its_request_is_answered(
    redis: Redis, redis_url: str, started: Attempt
) -> None:
    """Before the stream has begun."""
    log = EventLog(redis)
    async with running_gateway(redis_url, heartbeat_s=1) as gateway:
        async with raw_client(gateway, SESSION) as client:
            client.writer.write_eof()
            await client.until(b"event: task_started")
            await started.append(log, started.output("after"))
            await client.until(b"after")
        await wait_until(lambda: all_gone(gateway))


async def test_who_comes_in_while_the_process_drains_is_drained_too(
    redis: Redis, store: Store, started: Attempt
) -> None:
    """The store kept it waiting until the others had been told."""
    number = redis.connection_pool.connection_kwargs["db"]
    async with (
        running_proxy(store.port) as proxy,
        running_gateway(f"{proxy.url}/{number}") as gateway,
    ):
        await wait_until(lambda: _subscribed(gateway))
        proxy.silent = True
        async with raw_client(gateway, SESSION) as client:
            await asyncio.sleep(0.1)  # its request is under way
            gateway.drain.set()
            await asyncio.sleep(0.3)
            proxy.silent = False
            assert b"event: draining" in await client.to_end(15) or b"retry: " in client.received


async def _subscribed(gateway: Gateway) -> bool:
    return (await gateway.stats())["subscriber"] == {"connected": True, "reconnects": 0}


async def test_a_client_that_left_is_let_go_within_a_second(redis: Redis, redis_url: str, started: Attempt) -> None:
    """Also when nothing is delivered meanwhile: the heartbeat is 15 s away."""
    async with running_gateway(redis_url, heartbeat_s=15) as gateway, raw_client(gateway, SESSION) as client:
        await client.until(b"event: task_started")
        client.writer.close()
        await wait_until(lambda: all_gone(gateway), timeout_s=1.5)


async def test_a_server_that_stops_ends_its_streams(redis: Redis, redis_url: str, started: Attempt) -> None:
    """Within the drain time, cleanly, with word to come back."""
    async with running_gateway(redis_url) as gateway, raw_client(gateway, SESSION) as client:
        await client.until(b"event: task_started")
        gateway.drain.set()
        assert (await client.to_end(3)).endswith(b"0\r\n\r\n")
        assert b"event: draining" in client.received
