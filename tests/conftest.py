"""Fixtures: one real store per test process, one database number per test, and a leak check over it."""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from redis.asyncio import Redis

from runcast_events.keys import Keyspace
from runcast_events.redis import connect
from runcast_local.model import Stub, serving
from runcast_local.store import Store, find_program

DATABASES = 512
"""They go round; one more is for tests that share theirs."""
_numbers = itertools.count()

# Keys that live without a TTL on purpose: the queue store's indexes, arq's queue, and what tells of their loss.
LASTING = ("runcast:index:", "runcast:due", "runcast:rings", "runcast:counted")


IMAGE = os.environ.get("RUNCAST_TEST_IMAGE")


def pytest_report_header() -> str:
    if IMAGE:
        return f"store: a container of {IMAGE}; tests that stop or fill a store start one of their own"
    program = find_program()
    return f"store: {program.path.name} {program.version} ({program.origin})"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The store of this test process. Tests that restart or fill a store start one of their own."""
    options = ("--databases", str(DATABASES + 1), "--appendonly", "no")
    if IMAGE:
        from tests.container import running_container  # here, so that other runs do not load Docker's client

        with running_container(IMAGE, *options) as container:
            yield container
        return
    with Store(find_program(), tmp_path_factory.mktemp("store"), options=options) as running:
        yield running


@pytest.fixture
def own_store(tmp_path: Path) -> Iterator[Store]:
    """A store that the test may kill, restart, fill."""
    with Store(find_program(), tmp_path / "store") as running:
        yield running


@pytest.fixture
async def own_redis(own_store: Store) -> AsyncIterator[Redis]:
    """A client of the test's own store."""
    client = connect(own_store.url, "test")
    yield client
    await client.aclose()


@pytest.fixture
def redis_url(store: Store) -> str:
    """A database of this test's own: arq's keys cannot be prefixed."""
    return f"redis://127.0.0.1:{store.port}/{next(_numbers) % DATABASES}"


@pytest.fixture
def queue_url(store: Store) -> str:
    """Another database, for tests whose queue store is not the events store."""
    return f"redis://127.0.0.1:{store.port}/{next(_numbers) % DATABASES}"


@pytest.fixture
async def queue_redis(queue_url: str) -> AsyncIterator[Redis]:
    """A client on that database."""
    client = connect(queue_url, "test")
    await client.flushdb()
    yield client
    await client.flushdb()
    await client.aclose()


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client on the test's database; afterwards no session may be at rest with keys that never expire."""
    client = connect(redis_url, "test")
    await client.flushdb()
    yield client
    leaked = await leaks(client)
    await client.flushdb()
    await client.aclose()
    assert not leaked, f"keys without a TTL although their session is at rest: {leaked}"


@pytest.fixture
async def stub() -> Stub:
    """A stub of a model's server, for the test to tell what to answer."""
    return Stub()


@pytest.fixture
async def base_url(stub: Stub) -> AsyncIterator[str]:
    """Where the stub is served, as OpenAI-compatible clients want it."""
    async with serving(stub) as url:
        yield url


@pytest.fixture
def keyspace() -> Keyspace:
    return Keyspace()


async def leaks(client: Redis) -> list[str]:
    """Keys without a TTL whose session has no live task, and keys that nobody documents as lasting."""
    found = []
    for raw in await client.keys("*"):
        key = raw.decode()
        if key.startswith(LASTING) or await client.pttl(key) != -1:  # -2: it has expired meanwhile
            continue
        base, tag, _ = key.partition("}")
        if not tag or not await client.llen(f"{base}}}:queue"):
            found.append(key)
    return found


async def wait_until(
    condition: Callable[[], bool | Awaitable[bool]], timeout_s: float = 10.0, message: str = ""
) -> None:
    """Return as soon as `condition` holds; fail with `message` when it does not in time."""
    deadline = monotonic() + timeout_s
    while True:
        result = condition()
        if await result if isinstance(result, Awaitable) else result:
            return
        assert monotonic() < deadline, message or f"did not happen in {timeout_s} s"
        await asyncio.sleep(0.01)
