"""`python -m runcast_api` as a real process."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import httpx2
import pytest
from redis.asyncio import Redis

from runcast_local.store import free_port
from tests.api.running import problem
from tests.attempts import entries
from tests.conftest import wait_until
from tests.loglines import bad


@asynccontextmanager
async def process(**environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Killed at the end where it still runs."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("RUNCAST_")}
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "runcast_api",
        env=inherited | environ,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


async def test_the_process_serves_and_ends_with_sigterm(redis: Redis, redis_url: str) -> None:
    """Start, health, a task, a body too large over a real socket, and an end in bounded time."""
    port = free_port()
    settings = {"RUNCAST_REDIS_URL": redis_url, "RUNCAST_PORT": str(port), "RUNCAST_LOG_LEVEL": "WARNING"}
    async with (
        process(**settings) as api,
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client,
    ):

        async def healthy() -> bool:
            try:
                return bool((await client.get("/health")).json() == {"status": "ok"})
            except httpx2.TransportError:
                return False

        await wait_until(healthy)
        answer = await client.post("/api/tasks", json={"task": "hello", "session_id": "s1"})
        assert answer.status_code == 202
        assert len(await entries(redis)) == 3
        too_large = await client.post(
            "/api/tasks", content=b"x" * 3_000_000, headers={"content-type": "application/json"}
        )
        problem(too_large, 413, "too_large")
        assert (await client.get(answer.headers["location"])).json()["state"] == "queued"

        asked_at = monotonic()
        api.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(api.communicate(), 5)
        assert api.returncode in (-signal.SIGTERM, 143, 0)
        assert monotonic() - asked_at < 3
        assert not bad(errors.splitlines())


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"RUNCAST_AGENTS_FILE": "/nowhere/agents.toml"}, "RUNCAST_AGENTS_FILE: /nowhere/agents.toml: cannot be read"),
        ({"RUNCAST_DEFAULT_AGENT": "nobody"}, "RUNCAST_DEFAULT_AGENT is 'nobody': expected one of demo"),
        ({"RUNCAST_PORT": "99999"}, "cannot start: RUNCAST_PORT"),
    ],
)
async def test_a_wrong_setting_is_refused_at_start_with_its_reason(settings: dict[str, str], expected: str) -> None:
    """One message, no traceback, exit 1."""
    async with process(**settings) as api:
        _, errors = await asyncio.wait_for(api.communicate(), 10)
    assert api.returncode == 1
    assert expected in errors.decode()
    assert b"Traceback" not in errors
