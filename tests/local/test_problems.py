"""What the real services refuse, as clients of the one origin are told it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx2
import pytest
from redis.asyncio import Redis

from runcast_api.app import create_app as create_api
from runcast_api.settings import ApiSettings
from runcast_gateway.app import create_app as create_gateway
from runcast_gateway.settings import GatewaySettings
from runcast_local.edge import Edge
from runcast_local.routes import Routes
from tests.local.upstream import served

REFUSED = [
    ("GET", "/nowhere", b"", 404, "not_found"),
    ("GET", "/api/tasks/", b"", 404, "not_found"),
    ("PUT", "/api/tasks", b"", 405, "method_not_allowed"),
    ("PUT", "/api/tasks", b"{}", 405, "method_not_allowed"),
    ("OPTIONS", "/api/tasks", b"", 405, "method_not_allowed"),
    ("POST", "/api/docs", b"", 405, "method_not_allowed"),
    ("POST", "/", b"{}", 405, "method_not_allowed"),
    ("POST", "/api/tasks", b"x" * 2_000_000, 413, "too_large"),
    ("POST", "/api/tasks", b"{}", 415, "unsupported_media_type"),
    ("GET", "/api/tasks?limit=x", b"", 422, "invalid_request"),
    ("GET", "/stream", b"", 404, "not_found"),
    ("POST", "/stream/stats", b"", 405, "method_not_allowed"),
    ("POST", "/stream/stats", b"{}", 405, "method_not_allowed"),
    ("GET", "/stream/sessions/a.b", b"", 400, "invalid_id"),
    ("GET", "/stream/ws?session_id=a", b"", 426, "upgrade_required"),
]


@pytest.fixture
async def client(redis: Redis, redis_url: str) -> AsyncIterator[httpx2.AsyncClient]:
    """Of an edge before an api and a gateway. `redis` comes first, so that its leak check comes last."""
    async with AsyncExitStack() as stack:
        api = create_api(ApiSettings(redis_url=redis_url))
        gateway = create_gateway(GatewaySettings(redis_url=redis_url), asyncio.Event())
        upstreams = {
            "api": await stack.enter_async_context(served(api, lifespan=True)),
            "gateway": await stack.enter_async_context(served(gateway, lifespan=True)),
        }
        edge = Edge(Routes((("/stream", "gateway"), ("/", "api"))), upstreams)
        url = await stack.enter_async_context(served(edge, lifespan=True))
        yield await stack.enter_async_context(httpx2.AsyncClient(base_url=url, trust_env=False, timeout=5))


async def test_every_refusal_is_a_problem_document(client: httpx2.AsyncClient) -> None:
    """Whoever refuses, edge, api or gateway: the same form, and a code that programs may switch on."""
    for method, path, body, status, code in REFUSED:
        answer = await client.request(method, path, content=body)
        told = (answer.status_code, answer.headers["content-type"], answer.json()["code"])
        assert told == (status, "application/problem+json", code), f"{method} {path}: {answer.text}"
