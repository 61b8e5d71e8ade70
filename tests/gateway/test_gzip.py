"""transports/gzip.py: fewer bytes for who asks, every event at once, and an end that can be told from a cut."""

import asyncio
import zlib

import pytest
from redis.asyncio import Redis
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from runcast_events.log import EventLog
from runcast_gateway.transports.gzip import asks_for_gzip
from runcast_gateway.transports.handover import StreamProtocol
from tests.attempts import claim, entries, submit
from tests.conftest import wait_until
from tests.gateway.raw import GET, raw_client
from tests.gateway.running import Client, running_gateway
from tests.history import check_client

GZIPPED = 16 + zlib.MAX_WBITS


@pytest.mark.parametrize("http", [StreamProtocol, HttpToolsProtocol], ids=["handed over", "through send"])
async def test_each_event_arrives_at_once(redis: Redis, redis_url: str, http: type[asyncio.Protocol]) -> None:
    """Nothing waits in the compressor for more to come; a reader without gzip gets the same beside it."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    async with running_gateway(redis_url, http=http) as gateway:
        clients = [Client(gateway.base, "/stream/sessions/s1", encoding=e) for e in ("gzip", "br, gzip;q=0.5", "br")]
        reading = [asyncio.create_task(client.read(until="task_complete")) for client in clients]
        await wait_until(lambda: all("task_started" in client.events for client in clients))
        for i in range(20):
            await attempt.append(log, attempt.output(str(i)))
            await wait_until(lambda i=i: all(client.events.count("output") == i + 1 for client in clients))
        await attempt.append(log, attempt.complete())
        await asyncio.gather(*reading)
        for client in clients:
            check_client(client.seen, await entries(redis))


async def test_a_whole_stream_has_its_checksum_and_a_cut_one_has_not(redis: Redis, redis_url: str) -> None:
    """Of HTTP/1.0, where the body is all that a reader has to tell by."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), *(attempt.output(f"word {i} ") for i in range(300)))
    request = GET.replace("HTTP/1.1", "HTTP/1.0")
    async with running_gateway(redis_url) as gateway:
        path, more = f"/stream/tasks/{task_id}", "Accept-Encoding: gzip\r\n"
        async with raw_client(gateway, path, request=request, more=more) as client:
            await client.until(b"\r\n\r\n")
            await attempt.append(log, attempt.complete())
            head, _, body = (await client.to_end()).partition(b"\r\n\r\n")
    assert b"content-encoding: gzip" in head
    assert b"vary: accept-encoding" in head
    decompressor = zlib.decompressobj(GZIPPED)
    text = decompressor.decompress(body)
    assert decompressor.eof
    assert text.count(b"event: output") == 300
    assert text.endswith(b"\ndata: {}\n\n")
    assert len(text) > 5 * len(body)
    cut = zlib.decompressobj(GZIPPED)
    cut.decompress(body[:-12])
    assert not cut.eof


async def test_an_operator_may_turn_it_off(redis: Redis, redis_url: str) -> None:
    """`RUNCAST_GZIP=false`."""
    await submit(EventLog(redis))
    async with (
        running_gateway(redis_url, gzip=False) as gateway,
        raw_client(gateway, "/stream/sessions/s1", more="Accept-Encoding: gzip\r\n") as client,
    ):
        assert b"content-encoding" not in await client.until(b"event: task_queued")
    await redis.flushdb()


@pytest.mark.parametrize(
    ("accept", "asked"),
    [
        (b"gzip", True),
        (b"gzip, deflate, br, zstd", True),
        (b"br;q=1.0, x-gzip ; q=0.8, *;q=0.1", True),
        (b"GZIP;q=1", True),
        (b"", False),
        (b"identity", False),
        (b"*", False),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"notgzip, gzipped", False),
    ],
)
def test_gzip_is_for_who_asks(accept: bytes, asked: bool) -> None:
    """By name, and not with a quality of nothing."""
    assert asks_for_gzip(accept) == asked
