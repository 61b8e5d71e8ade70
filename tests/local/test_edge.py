"""The edge between real servers: what passes, when, and what either side's leaving does to the other."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import httpx2
import pytest

from runcast_local.edge import LOOPBACK_NAMES, Edge
from runcast_local.routes import Routes
from runcast_local.store import free_port
from tests.conftest import wait_until
from tests.local.upstream import GZIPPED, Upstream, served

ROUTES = Routes((("/stream", "gateway"), ("/", "api")))


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def client(upstream: Upstream) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of an edge behind which one upstream plays both services."""
    async with (
        served(upstream) as behind,
        served(Edge(ROUTES, {"api": behind, "gateway": behind}), lifespan=True) as url,
        httpx2.AsyncClient(base_url=url, trust_env=False, timeout=5) as client,
    ):
        yield client


async def test_the_table_of_routes_decides_who_answers() -> None:
    """A prefix covers whole segments: /streams is not /stream."""
    async with served(Upstream("api")) as api, served(Upstream("gateway")) as gateway:
        edge = Edge(ROUTES, {"api": api, "gateway": gateway})
        async with served(edge, lifespan=True) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            paths = ("/stream", "/stream/x", "/streams", "/api/x")
            answers = {path: (await client.get(path)).json()["name"] for path in paths}
    assert answers == {"/stream": "gateway", "/stream/x": "gateway", "/streams": "api", "/api/x": "api"}


async def test_the_root_tells_where_things_are(client: httpx2.AsyncClient) -> None:
    """Somebody who opens the origin in a browser finds the documentation of the API."""
    assert (await client.get("/")).json()["docs"] == "/api/docs"


async def target(client: httpx2.AsyncClient, line: bytes) -> tuple[int, str | None, bytes]:
    """Status, content type and body of what is answered to a request line, which no client library tidies up."""
    reader, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
    writer.write(line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = (await asyncio.wait_for(reader.read(), 5)).partition(b"\r\n\r\n")
    writer.close()
    headers = dict(header.split(": ", 1) for header in head.decode().split("\r\n")[1:])
    return int(head.split()[1]), headers.get("content-type"), body


async def test_a_path_that_would_become_another_one_is_refused(client: httpx2.AsyncClient) -> None:
    """Else the service that is chosen by one path would be asked for another one. `OPTIONS *` has no path at all."""
    dots = ("/..", "/stream/../api/x", "/stream/%2e%2E/api/x", "/stream%2f..%2fapi/x", "/api/./x")
    for line in (b"OPTIONS *", *(b"GET " + path.encode() for path in dots)):
        status, kind, body = await target(client, line)
        assert (status, kind) == (400, "application/problem+json"), line
        assert json.loads(body)["code"] == "invalid_url"


async def test_dots_that_are_no_segment_pass(client: httpx2.AsyncClient) -> None:
    """As they are."""
    for path in ("/stream/...", "/stream/%252e%252e/x", "//elsewhere/x", "/x?y=/../z"):
        status, _, body = await target(client, b"GET " + path.encode())
        assert (status, json.loads(body)["target"].rstrip("?")) == (200, path)


async def test_headers_that_http_does_not_allow_are_the_clients_mistake(client: httpx2.AsyncClient) -> None:
    """A 400, not a service that cannot be reached: here a second Host."""
    status, kind, body = await target(client, b"GET /api/x HTTP/1.1\r\nHost: y\r\nX-Rest:")
    assert (status, kind) == (400, "application/problem+json")
    assert json.loads(body)["code"] == "bad_request"


async def test_a_chunk_arrives_before_the_next_one_is_sent(client: httpx2.AsyncClient, upstream: Upstream) -> None:
    """Nothing is buffered: an event is seen while its stream is silent."""
    async with client.stream("GET", "/stream/chunks") as response:
        assert response.headers["content-type"] == "text/event-stream"
        chunks = response.aiter_raw()
        assert await anext(chunks) == b"data: 1\n\n"
        upstream.go.set()
        assert await anext(chunks) == b"data: 2\n\n"
        assert [chunk async for chunk in chunks] == []


async def test_a_request_body_arrives_while_it_is_sent(client: httpx2.AsyncClient, upstream: Upstream) -> None:
    """Uploads stream as well: the service has the first chunk before the client has made the second."""

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        await wait_until(lambda: upstream.received == [b"first"])
        raise ConnectionAbortedError  # the client gives up here

    with pytest.raises(ConnectionAbortedError):
        await client.post("/api/silent", content=body())
    await asyncio.wait_for(upstream.left.wait(), 5)


async def test_a_client_that_leaves_ends_its_stream_upstream(client: httpx2.AsyncClient, upstream: Upstream) -> None:
    """Otherwise every closed browser tab would leave a stream behind."""
    async with client.stream("GET", "/stream/endless") as response:
        assert await anext(response.aiter_raw()) == b":\n"
        assert not upstream.left.is_set()
    await asyncio.wait_for(upstream.left.wait(), 5)


async def test_a_client_that_leaves_before_the_answer_ends_the_request_upstream(
    client: httpx2.AsyncClient, upstream: Upstream
) -> None:
    """Also where the upstream has not said anything yet."""
    request = asyncio.create_task(client.get("/api/silent"))
    await wait_until(lambda: bool(upstream.received))
    request.cancel()
    await asyncio.wait_for(upstream.left.wait(), 5)


async def test_an_upstream_that_breaks_off_never_looks_complete(client: httpx2.AsyncClient) -> None:
    """The client's connection is cut, so that half an answer is not taken for a whole one."""
    with pytest.raises(httpx2.RemoteProtocolError):
        await client.get("/stream/breaks")


async def test_hop_by_hop_headers_stay_on_their_hop(client: httpx2.AsyncClient) -> None:
    """Both ways, with those that Connection names; the rest passes, repeated ones too."""
    sent = {"connection": "x-mine, keep-alive", "x-mine": "1", "te": "trailers", "x-kept": "yes"}
    seen = dict((await client.get("/api/echo", headers=sent)).json()["headers"])
    assert seen["x-kept"] == "yes"
    assert not {"x-mine", "te", "keep-alive"} & seen.keys()
    answer = await client.get("/api/headers")
    assert not {"x-hop", "keep-alive"} & answer.headers.keys()
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_services_are_told_who_asked_for_what(client: httpx2.AsyncClient) -> None:
    """X-Forwarded-* are the edge's word; what a client claims there is not believed. Host stays the client's."""
    lies = {"x-forwarded-for": "10.0.0.1", "x-forwarded-proto": "https", "forwarded": "for=10.0.0.1"}
    seen = (await client.get("/api/echo", headers=lies)).json()["headers"]
    host = urlsplit(str(client.base_url)).netloc
    told = {name: value for name, value in seen if name.startswith(("x-forwarded", "forwarded", "host"))}
    assert told == {"host": host, "x-forwarded-host": host, "x-forwarded-for": "127.0.0.1", "x-forwarded-proto": "http"}


async def test_encodings_are_between_client_and_service(client: httpx2.AsyncClient) -> None:
    """Accept-Encoding passes as it is, also where there is none, and compressed bytes stay compressed."""
    seen = dict((await client.get("/api/echo", headers={"accept-encoding": "br;q=0.5"})).json()["headers"])
    assert seen["accept-encoding"] == "br;q=0.5"
    async with client.stream("GET", "/api/headers") as response:
        assert b"".join([chunk async for chunk in response.aiter_raw()]) == GZIPPED
        assert response.headers["content-encoding"] == "gzip"


async def test_no_cookie_of_one_client_reaches_another(client: httpx2.AsyncClient) -> None:
    """The edge keeps nothing of an answer."""
    await client.get("/api/headers")
    async with httpx2.AsyncClient(base_url=client.base_url, trust_env=False) as other:
        assert "cookie" not in dict((await other.get("/api/echo")).json()["headers"])


async def test_target_and_body_pass_as_they_are(client: httpx2.AsyncClient) -> None:
    """Escapes of path and query are not touched."""
    seen = (await client.put("/api/a%2Fb%20c?x=%2B&y=1,2", content=b"hello")).json()
    assert (seen["method"], seen["target"], seen["body"]) == ("PUT", "/api/a%2Fb%20c?x=%2B&y=1,2", "hello")
    assert dict(seen["headers"])["content-length"] == "5"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_method_without_a_body_has_none_upstream(client: httpx2.AsyncClient, method: str) -> None:
    """No body is made up: a DELETE does not become chunked."""
    seen = (await client.request(method, "/api/echo")).json()
    assert (seen["method"], seen["body"]) == (method, "")
    assert "transfer-encoding" not in dict(seen["headers"])


async def test_head_and_bodyless_answers_keep_the_connection_usable(client: httpx2.AsyncClient) -> None:
    """HEAD gives the headers that GET would; 204 and 304 end without a body; the next request works."""
    head = await client.head("/api/echo")
    assert head.content == b""
    assert int(head.headers["content-length"]) > 0
    for path, status in (("/api/nothing", 204), ("/api/unchanged", 304)):
        answer = await client.get(path)
        assert (answer.status_code, answer.content) == (status, b"")
    assert (await client.get("/api/echo")).status_code == 200


async def test_large_bodies_pass_whole(client: httpx2.AsyncClient) -> None:
    """8 MiB there and back."""
    body = bytes(range(256)) * 32768
    assert (await client.post("/api/large", content=body)).content == body


async def test_an_answer_before_the_end_of_the_body_is_passed_on(client: httpx2.AsyncClient) -> None:
    """A service that refuses an upload is heard, not cut off."""
    assert (await client.post("/api/refuses", content=b"x" * 4_000_000)).text == "too large"


async def test_hundreds_of_streams_at_once(client: httpx2.AsyncClient, upstream: Upstream) -> None:
    """No small pool limit: a usual client's would stop at a hundred."""
    count = 150
    async with AsyncExitStack() as open_streams:
        limits = httpx2.Limits(max_connections=None)
        many = httpx2.AsyncClient(base_url=client.base_url, trust_env=False, limits=limits, timeout=10)
        await open_streams.enter_async_context(many)
        for _ in range(count):
            await open_streams.enter_async_context(many.stream("GET", "/stream/endless"))
        assert upstream.streams == count
        assert (await client.get("/api/echo")).status_code == 200


async def test_an_upstream_that_is_down_is_a_502_problem() -> None:
    """With a code that programs may switch on, naming the service."""
    dead = f"http://127.0.0.1:{free_port()}"
    edge = Edge(ROUTES, {"api": dead, "gateway": dead})
    async with served(edge, lifespan=True) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as client:
        answers = {"gateway": await client.get("/stream/x"), "api": await client.post("/api/tasks", json={"task": "x"})}
    for name, answer in answers.items():
        assert answer.status_code == 502
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "upstream_unavailable"
        assert f"the {name}" in answer.json()["detail"]


async def test_closing_the_edge_cuts_streams_that_would_never_end(upstream: Upstream) -> None:
    """A server that is told to end must not wait for them."""
    async with served(upstream) as behind:
        edge = Edge(ROUTES, {"api": behind, "gateway": behind})
        async with served(edge, lifespan=True) as url, httpx2.AsyncClient(base_url=url, trust_env=False) as client:
            async with client.stream("GET", "/stream/endless") as response:
                chunks = response.aiter_raw()
                await anext(chunks)
                edge.close()
                with pytest.raises(httpx2.RemoteProtocolError):
                    await anext(chunks)
            await asyncio.wait_for(upstream.left.wait(), 5)


async def test_a_foreign_host_name_is_refused_on_loopback() -> None:
    """A web page whose name resolves to this machine must not command its agents."""
    async with served(Upstream()) as behind:
        edge = Edge(ROUTES, {"api": behind, "gateway": behind}, hosts=LOOPBACK_NAMES)
        async with served(edge, lifespan=True) as url, httpx2.AsyncClient() as client:
            port = url.rpartition(":")[2]
            for host in (f"localhost:{port}", f"127.0.0.1:{port}", "localhost"):
                assert (await client.get(f"{url}/api/x", headers={"host": host})).status_code == 200
            for host in ("evil.example", f"evil.example:{port}", "localhost.evil.example"):
                refused = await client.get(f"{url}/api/x", headers={"host": host})
                assert (refused.status_code, refused.json()["code"]) == (400, "unknown_host")
