"""MCP servers behind a URL: the same tools over streamable HTTP, in a process of their own."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runcast_agents import McpServer
from runcast_worker.engines import EngineError
from runcast_worker.tools import ToolFailed
from tests.conftest import wait_until
from tests.local.upstream import served
from tests.worker.mcp.test_mcp import SERVERS, Told, call, opened

ENVIRON = {"MY_TOKEN": "canary-token"}


@contextmanager
def serving() -> Iterator[str]:
    command = (sys.executable, str(SERVERS / "tools.py"), ENVIRON["MY_TOKEN"])
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/mcp"
        finally:
            process.kill()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving() as url:
        yield url


def at(url: str, **more: float) -> McpServer:
    return McpServer.model_validate({"url": url, "headers": {"Authorization": "Bearer ${MY_TOKEN}"}, **more})


async def test_a_server_behind_a_url_offers_its_tools(tmp_path: Path, url: str) -> None:
    """With headers from the worker's environment; results, failures, progress as over pipes."""
    async with opened(tmp_path, {"web": at(url)}, ENVIRON) as tools:
        assert await call(tools["web_echo"], tmp_path, text="Hello", count=2) == "Hello Hello"
        assert await call(tools["web_large"], tmp_path, size=1_000_000) == "x" * 1_000_000
        with pytest.raises(ToolFailed, match="no luck today"):
            await call(tools["web_fails"], tmp_path)
        told = Told()
        assert await call(tools["web_telling"], tmp_path, told) == "done"
        assert "[progress] 2/2: step 2\n" in told.text


async def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path, url: str) -> None:
    """Other calls go on."""
    async with opened(tmp_path, {"web": at(url)}, ENVIRON) as tools:
        calling = asyncio.create_task(call(tools["web_slow"], tmp_path, folder=str(tmp_path)))
        await wait_until((tmp_path / "began").exists)
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await wait_until((tmp_path / "cancelled").exists)
        assert await call(tools["web_echo"], tmp_path, text="after") == "after"


async def test_a_server_that_dies_in_a_call_is_told(tmp_path: Path) -> None:
    """At once, and again by a later call."""
    with serving() as url:
        async with opened(tmp_path, {"web": at(url)}, ENVIRON) as tools:
            with pytest.raises(ToolFailed, match="the MCP server web") as failed:
                await call(tools["web_dies"], tmp_path)
            assert failed.value.code == "mcp"
            with pytest.raises(ToolFailed, match="the MCP server web"):
                await call(tools["web_echo"], tmp_path, text="Hello")


async def test_a_refusal_is_told_with_its_status_and_without_the_secret(tmp_path: Path, url: str) -> None:
    """A wrong token is what goes wrong most."""
    with pytest.raises(EngineError, match=r"the MCP server web cannot be used: .*HTTP 401") as failed:
        async with opened(tmp_path, {"web": at(url)}, {"MY_TOKEN": "canary-wrong"}):
            pass
    assert "canary" not in str(failed.value)
    assert (failed.value.kind, failed.value.retryable) == ("mcp", True)


async def test_a_body_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    """A server may answer with anything."""

    async def endless(scope: object, receive: object, send: object) -> None:
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})  # type: ignore[operator]
        for _ in range(300):
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})  # type: ignore[operator]

    async with served(endless) as base:  # type: ignore[arg-type]
        with pytest.raises(EngineError, match="more than 8388608 bytes"):
            async with opened(tmp_path, {"web": McpServer(url=f"{base}/mcp")}):
                pass
