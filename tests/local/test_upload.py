"""Bodies through the edge that never end, and answers that come before their end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
from redis.asyncio import Redis

from runcast_api.app import create_app
from runcast_api.settings import ApiSettings
from runcast_local.edge import Edge
from runcast_local.routes import Routes
from tests.local.upstream import Upstream, served

HEAD = b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n%b\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked"
CHUNK = b"400\r\n" + b"x" * 1024 + b"\r\n"


@dataclass(frozen=True)
class Client:
    """A client that sends a body as slowly as it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self) -> tuple[int, bytes]:
        """Status and whole answer."""
        async with asyncio.timeout(5):
            head = await self.reader.readuntil(b"\r\n\r\n")
            return int(head.split()[1]), head + await self.reader.read()


@asynccontextmanager
async def asking(url: str, path: bytes, header: bytes) -> AsyncIterator[Client]:
    """Connected, with the head of a request and the first bytes of its body sent."""
    split = urlsplit(url)
    reader, writer = await asyncio.open_connection(split.hostname, split.port)
    writer.write(HEAD % (path, header) + CHUNK)
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def url(upstream: Upstream) -> AsyncIterator[str]:
    async with AsyncExitStack() as stack:
        behind = await stack.enter_async_context(served(upstream))
        edge = Edge(Routes((("/", "api"),)), {"api": behind}, body_silence_s=0.5)
        yield await stack.enter_async_context(served(edge, lifespan=True))


@pytest.mark.parametrize("header", [CHUNKED, b"Content-Length: 1000000"])
async def test_a_refusal_arrives_while_the_body_is_still_awaited(url: str, header: bytes) -> None:
    """The service's own words, not the edge's: the client need not send the rest to be told that nobody wants it."""
    async with asking(url, b"/api/refuses", header) as client:
        status, answer = await client.answer()
    assert status == 413
    assert b"too large" in answer


async def test_a_refusal_arrives_while_the_body_goes_on_and_on(url: str) -> None:
    """A body without an end has pauses for nobody to measure."""
    async with asking(url, b"/api/refuses", CHUNKED) as client:

        async def on_and_on() -> None:
            while True:
                client.writer.write(CHUNK)
                await client.writer.drain()
                await asyncio.sleep(0)

        sending = asyncio.create_task(on_and_on())
        head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
    assert int(head.split()[1]) == 413


@pytest.mark.parametrize("header", [CHUNKED, b"Content-Length: 1000000"])
async def test_a_body_that_stops_coming_is_given_up(url: str, upstream: Upstream, header: bytes) -> None:
    """A 408 of the edge's own where the service waits for ever, and the service learns of it."""
    async with asking(url, b"/api/silent", header) as client:
        status, answer = await client.answer()
        assert status == 408
        assert b"application/problem+json" in answer
        assert b'"code":"body_timeout"' in answer
        await asyncio.wait_for(upstream.left.wait(), 5)


async def test_the_time_that_the_api_gives_a_body_is_kept_through_the_edge(redis: Redis, redis_url: str) -> None:
    """The api says when it has waited enough, and its client hears it long before the edge would give up."""
    async with AsyncExitStack() as stack:
        api = create_app(ApiSettings(redis_url=redis_url, body_timeout_s=0.1))
        behind = await stack.enter_async_context(served(api, lifespan=True))
        edge = Edge(Routes((("/", "api"),)), {"api": behind})
        url = await stack.enter_async_context(served(edge, lifespan=True))
        client = await stack.enter_async_context(asking(url, b"/api/tasks", CHUNKED))
        status, answer = await client.answer()
    assert status == 408
    assert b"the body did not arrive within 0.1 s" in answer
