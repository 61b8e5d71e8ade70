"""WebSockets through the edge: between real servers, as in tests/local/test_edge.py."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from runcast_local.edge import LOOPBACK_NAMES, Edge
from runcast_local.routes import Routes
from runcast_local.store import free_port
from tests.conftest import wait_until
from tests.local.upstream import Upstream, served

ROUTES = Routes((("/stream", "gateway"), ("/", "api")))


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def url(upstream: Upstream) -> AsyncIterator[str]:
    """Of an edge before that upstream."""
    async with served(upstream) as behind:
        edge = Edge(ROUTES, {"api": behind, "gateway": behind}, hosts=LOOPBACK_NAMES)
        async with served(edge, lifespan=True) as url:
            yield url.replace("http", "ws", 1)


def client(url: str, **options: Any) -> connect:
    return connect(url, proxy=None, compression=None, **options)


async def test_messages_pass_both_ways_as_they_are(url: str) -> None:
    """Text stays text, bytes stay bytes, in order; the handshake is the service's to judge, under the client's name."""
    headers = {"Authorization": "Bearer x", "Origin": "http://localhost", "X-Forwarded-For": "10.0.0.1"}
    async with client(url + "/stream/ws?a=%2B&b", additional_headers=headers, subprotocols=["v2", "v1"]) as ws:  # type: ignore[list-item]
        assert ws.subprotocol == "v2"
        asked = json.loads(await ws.recv())
        said = ["é", b"\x00\xff", "", "x" * 200_000, *(str(i) for i in range(50))]
        for message in said:
            await ws.send(message)
        assert [await ws.recv() for _ in said] == said
    assert asked["target"] == "/stream/ws?a=%2B&b"
    told = [value for name, value in asked["headers"] if name in ("authorization", "origin", "x-forwarded-for", "host")]
    assert sorted(told) == sorted(["Bearer x", "http://localhost", "127.0.0.1", url.removeprefix("ws://")])


async def test_a_refusal_is_passed_on_whole(url: str) -> None:
    """Status, headers and body, as the service gave them."""
    with pytest.raises(InvalidStatus) as refused:
        await client(url + "/stream/refused")
    response = refused.value.response
    assert (response.status_code, response.headers["x-why"]) == (403, "so")
    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.body or b"") == {"code": "not_you"}


async def test_codes_of_a_close_are_passed_on(url: str, upstream: Upstream) -> None:
    """From the service to the client, and the other way round; one that died is told from one that closed."""
    for message, code, reason in (("close", 4321, "as asked"), ("die", 1014, "the gateway broke off")):
        async with client(url + "/stream/ws") as ws:
            await ws.recv()
            await ws.send(message)
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
            assert closed.value.rcvd is not None
            assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (code, reason)
    for leave in (4000, None):
        upstream.left.clear()
        async with client(url + "/stream/ws") as ws:
            await ws.recv()
            if leave is None:
                ws.transport.abort()
            else:
                await ws.close(leave)
        await asyncio.wait_for(upstream.left.wait(), 5)
        assert upstream.code == (leave or 1001)


async def test_what_a_client_said_before_it_left_arrives(url: str, upstream: Upstream) -> None:
    """Also while the service talks on and the client does not listen."""
    async with client(url + "/stream/ws") as ws:
        await ws.recv()
        for i in range(100):
            await ws.send(str(i))
    await asyncio.wait_for(upstream.left.wait(), 5)
    assert upstream.received == [str(i).encode() for i in range(100)]


async def test_a_client_that_does_not_read_slows_the_service_down(url: str, upstream: Upstream) -> None:
    """The edge holds a few messages, not whatever comes."""
    async with client(url + "/stream/flood", max_queue=1, max_size=None) as ws:
        await ws.recv()

        async def stands_still() -> bool:
            before = upstream.streams
            await asyncio.sleep(0.3)  # longer than a message takes, if it is taken
            return before > 0 and upstream.streams == before

        await wait_until(stands_still, timeout_s=20)
        held = upstream.streams * 50_000
        for _ in range(20):
            await ws.recv()
        await wait_until(lambda: upstream.streams * 50_000 > held)
        upstream.go.set()
        ws.transport.abort()
    assert held < 40_000_000  # the kernel's buffers of two hops, some MB each


async def test_what_cannot_be_reached_is_a_502_and_strange_hosts_are_refused() -> None:
    """As for other requests."""
    dead = f"http://127.0.0.1:{free_port()}"
    edge = Edge(ROUTES, {"api": dead, "gateway": dead}, hosts=LOOPBACK_NAMES)
    async with served(edge, lifespan=True) as base:
        ws_url = base.replace("http", "ws", 1)
        port = int(base.rpartition(":")[2])
        for url, status, code in (
            (ws_url + "/stream/ws", 502, "upstream_unavailable"),
            (ws_url + "/", 502, "upstream_unavailable"),
            (ws_url + "/a/%2e%2e/b", 400, "invalid_url"),
            (f"ws://evil.example:{port}/stream/ws", 400, "unknown_host"),
        ):
            with pytest.raises(InvalidStatus) as refused:
                await client(url, host="127.0.0.1", port=port)
            assert refused.value.response.status_code == status
            assert json.loads(refused.value.response.body or b"")["code"] == code
