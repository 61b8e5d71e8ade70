"""Tools of MCP servers: real servers over their pipes and over HTTP, and what is told when they go wrong."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from runcast_agents import McpServer
from runcast_worker.engines import EngineError
from runcast_worker.mcp import open_tools
from runcast_worker.mcp.words import WORDS_CHARS, Words
from runcast_worker.tools import Surroundings, Tool, ToolFailed
from tests.conftest import wait_until

SERVERS = Path(__file__).parent / "servers"
TOOLS = (sys.executable, str(SERVERS / "tools.py"))


class Told:
    """What a call shows of itself."""

    def __init__(self) -> None:
        self.text = ""

    async def stream(self, source: str, text: str) -> None:
        self.text += text

    async def captured(self, limit: int = 0) -> Any:
        raise NotImplementedError

    async def event(self, event: object) -> None:
        raise NotImplementedError


def raw(how: str, **more: Any) -> McpServer:
    return McpServer(command=(sys.executable, str(SERVERS / "raw.py"), how), **more)


def opened(
    folder: Path, servers: Mapping[str, McpServer], environ: Mapping[str, str] = os.environ
) -> AbstractAsyncContextManager[dict[str, Tool]]:
    @asynccontextmanager
    async def by_name() -> AsyncIterator[dict[str, Tool]]:
        async with open_tools(servers, Surroundings(folder), environ) as tools:
            yield {tool.name: tool for tool in tools}

    return by_name()


async def call(tool: Tool, at: Path, told: Told | None = None, /, **arguments: Any) -> JsonValue:
    return await tool.call(tool.arguments.model_validate(arguments), Surroundings(at), told or Told())


def servers_below() -> list[psutil.Process]:
    """Processes of servers that this one has."""
    return [p for p in psutil.Process().children(recursive=True) if p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(autouse=True)
def none_is_left() -> Any:
    """No test leaves a process."""
    before = set(servers_below())
    yield
    assert set(servers_below()) == before


async def test_a_servers_tools_are_offered_and_called(tmp_path: Path) -> None:
    """With their description and their schema; results are text, objects, or descriptions of what is neither."""
    async with opened(tmp_path, {"my": McpServer(command=TOOLS)}) as tools:
        echo = tools["my_echo"]
        assert echo.description == "Say it again."
        schema = echo.arguments.model_json_schema()
        assert schema["type"] == "object"
        assert (schema["properties"]["text"]["type"], schema["required"]) == ("string", ["text"])
        assert (echo.changes, tools["my_fails"].changes) == (False, True)
        assert await call(echo, tmp_path, text="Hello", count=2) == "Hello Hello"
        assert await call(tools["my_admin_list"], tmp_path) == {"numbers": [1, 2]}
        assert await call(tools["my_picture"], tmp_path) == [
            "look",
            {"type": "image", "mime_type": "image/png", "bytes": 5},
        ]
        assert await call(tools["my_large"], tmp_path, size=1_000_000) == "x" * 1_000_000
        with pytest.raises(ToolFailed, match="no luck today") as failed:
            await call(tools["my_fails"], tmp_path)
        assert failed.value.code == "mcp"
        with pytest.raises(ToolFailed, match="count"):
            await call(echo, tmp_path, text="Hello", count="many")
        told = Told()
        assert await call(tools["my_telling"], tmp_path, told) == "done"
        assert "[progress] 1/2: step 1\n" in told.text
        assert "[info] half of it is done\n" in told.text


async def test_a_cancelled_call_is_cancelled_at_the_server(tmp_path: Path) -> None:
    """And the server goes on: other calls run beside it and after it."""
    async with opened(tmp_path, {"my": McpServer(command=TOOLS)}) as tools:
        calling = asyncio.create_task(call(tools["my_slow"], tmp_path, folder=str(tmp_path)))
        await wait_until((tmp_path / "began").exists)
        assert await call(tools["my_echo"], tmp_path, text="beside") == "beside"
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        await wait_until((tmp_path / "cancelled").exists)
        assert await call(tools["my_echo"], tmp_path, text="after") == "after"


async def test_a_call_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    """And cancelled at the server, as one that nobody waits for any more."""
    async with opened(tmp_path, {"my": McpServer(command=TOOLS, timeout_s=3)}) as tools:
        with pytest.raises(ToolFailed, match="did not answer within 3 s") as failed:
            await call(tools["my_slow"], tmp_path, folder=str(tmp_path))
        assert failed.value.code == "timeout"
        await wait_until((tmp_path / "cancelled").exists)


async def test_a_server_that_dies_in_a_call_is_told_and_stays_dead(tmp_path: Path) -> None:
    """Its exit code and its last words; a later call hears the same at once; the next attempt has a new one."""
    servers = {"my": McpServer(command=TOOLS)}
    async with opened(tmp_path, servers) as tools:
        began = monotonic()
        with pytest.raises(ToolFailed, match=r"went away in the middle .* exit code 3: something broke") as failed:
            await call(tools["my_dies"], tmp_path)
        assert failed.value.code == "mcp"
        with pytest.raises(ToolFailed, match="exit code 3"):
            await call(tools["my_echo"], tmp_path, text="Hello")
        assert monotonic() - began < 3
    async with opened(tmp_path, servers) as tools:
        assert await call(tools["my_echo"], tmp_path, text="Hello") == "Hello"


async def test_nothing_of_a_server_is_left(tmp_path: Path) -> None:
    """Not what it started in a session of its own either, when its attempt is cancelled in the middle of a call."""
    children: list[int] = []

    async def attempt() -> None:
        async with opened(tmp_path, {"my": McpServer(command=TOOLS)}) as tools:
            pid = await call(tools["my_child"], tmp_path)
            assert isinstance(pid, int)
            children.append(pid)
            await call(tools["my_slow"], tmp_path, folder=str(tmp_path))

    attempting = asyncio.create_task(attempt())
    await wait_until((tmp_path / "began").exists, 20)
    assert psutil.pid_exists(children[0])
    attempting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempting
    await wait_until(lambda: not psutil.pid_exists(children[0]))


async def test_a_server_that_does_not_want_to_end_is_asked_and_then_ended(tmp_path: Path) -> None:
    """The end of its stdin, SIGTERM, SIGKILL."""
    command = (sys.executable, str(SERVERS / "raw.py"), "stubborn", str(tmp_path))
    async with opened(tmp_path, {"my": McpServer(command=command)}) as tools:
        assert set(tools) == {"my_call"}
    assert (tmp_path / "asked").exists()


async def test_an_attempt_that_is_cancelled_while_its_server_starts_leaves_nothing(tmp_path: Path) -> None:
    """The start is where most of the time goes."""
    starting = asyncio.create_task(opened(tmp_path, {"my": raw("mute")}).__aenter__())
    await wait_until(lambda: any("raw.py" in " ".join(p.cmdline()) for p in servers_below()))
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (raw("mute", timeout_s=0.5), r"my cannot be used: it did not start within 0\.5 s"),
        (raw("broken"), "my cannot be used: it ended with exit code 1: cannot read its configuration"),
        (McpServer(command=("no-such-program-here",)), "exit code 127: no-such-program-here: No such file"),
        (McpServer(url="http://127.0.0.1:9/mcp"), "my cannot be used: .*connect"),
    ],
    ids=["mute", "broken", "missing", "refused"],
)
async def test_a_server_that_cannot_be_used_fails_the_attempt(tmp_path: Path, server: McpServer, reason: str) -> None:
    """By its name and its reason; another time may be better."""
    with pytest.raises(EngineError, match=reason) as failed:
        async with opened(tmp_path, {"my": server}):
            pass
    assert (failed.value.kind, failed.value.retryable) == ("mcp", True)


async def test_of_a_traceback_the_last_line_is_told_and_all_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Where a server's files are is the operator's to know, not the client's."""
    with pytest.raises(EngineError) as failed:
        async with opened(tmp_path, {"tiny": raw("raising")}):
            pass
    said = "the MCP server tiny cannot be used: it ended with exit code 1: OSError: no such port"
    assert str(failed.value) == said
    (record,) = [record for record in caplog.records if record.name == "runcast_worker.mcp.connection"]
    assert "the MCP server tiny wrote to stderr:\nTraceback (most recent call last)" in record.getMessage()
    assert "raw.py" in record.getMessage()


@given(st.lists(st.integers(0, 3 * WORDS_CHARS), max_size=8), st.integers(1, 2 * WORDS_CHARS))
def test_what_a_server_says_is_kept_in_whole_lines(lengths: list[int], size: int) -> None:
    """However it comes: of a secret whose beginning is cut off the rest could not be filtered."""
    lines = [f"{index}{'é' * length}{index}" for index, length in enumerate(lengths)]
    said, words = "\n".join(lines).encode(), Words()
    for at in range(0, len(said), size):
        words.add(said[at : at + size])
    assert len(words.text) <= WORDS_CHARS
    kept = words.text.splitlines()
    assert set(kept) <= set(lines)
    short = lines if len("\n".join(lines)) <= WORDS_CHARS else []
    assert kept[: len(short)] == short
    if lines and len(lines[-1]) <= WORDS_CHARS:
        assert words.last_line == lines[-1]


@pytest.mark.parametrize(
    ("how", "reason"),
    [("nonsense", "answered what is no result of a tool"), ("endless", "a message of more than 8388608 bytes")],
)
async def test_a_server_that_talks_nonsense_fails_the_call(tmp_path: Path, how: str, reason: str) -> None:
    """What it prints that is no message is passed over; a message without an end is not collected for ever."""
    async with opened(tmp_path, {"my": raw(how)}) as tools:
        with pytest.raises(ToolFailed, match=reason):
            await call(tools["my_call"], tmp_path)


async def test_a_server_is_given_its_own_variables_and_no_secret(tmp_path: Path) -> None:
    """An allowlist, and what the agents file names."""
    environ = {"PATH": os.environ["PATH"], "OPENAI_API_KEY": "canary-openai", "TOKEN": "canary-token"}
    server = McpServer(command=TOOLS, env={"MY_TOKEN": "Bearer ${TOKEN}"}, tools=("environment",))
    async with opened(tmp_path, {"my": server}, environ) as tools:
        assert set(tools) == {"my_environment"}
        given = await call(tools["my_environment"], tmp_path)
    assert isinstance(given, dict)
    assert given["MY_TOKEN"] == "Bearer canary-token"
    assert "canary-openai" not in str(given)
    assert given.keys() <= {"PATH", "MY_TOKEN", "LC_CTYPE", "TMPDIR"}


@pytest.mark.parametrize(
    ("servers", "reason"),
    [
        ({"my": raw("well", env={"A": "${NOT_SET}"})}, r"my cannot be used: A needs \$\{NOT_SET\}"),
        ({"my": raw("well", tools=("call", "none"))}, "my has no tool none; it has: call"),
        ({"a": raw("well"), "a_": raw("well", tools=())}, None),
        ({"x": raw("well"), "X": raw("well")}, None),
    ],
    ids=["unset", "missing tool", "no tools", "two"],
)
async def test_what_the_agents_file_says_wrong_is_no_matter_of_trying_again(
    tmp_path: Path, servers: dict[str, McpServer], reason: str | None
) -> None:
    """Variables that are not set, tools that there are not."""
    if reason is None:
        async with opened(tmp_path, servers) as tools:
            assert set(tools) == {f"{name}_call" for name, server in servers.items() if server.tools is None}
        return
    with pytest.raises(EngineError, match=reason) as failed:
        async with opened(tmp_path, servers):
            pass
    assert (failed.value.kind, failed.value.retryable) == ("mcp", False)


async def test_a_killed_worker_leaves_no_server(tmp_path: Path) -> None:
    """SIGKILL: nobody can clean up but the kernel."""
    program = f"""
import asyncio, os, sys
from pathlib import Path
from runcast_agents import McpServer
from runcast_worker.mcp import open_tools
from runcast_worker.tools import Surroundings

async def main():
    server = McpServer(command={TOOLS!r})
    async with open_tools({{"my": server}}, Surroundings(Path({str(tmp_path)!r})), os.environ) as tools:
        (child,) = [tool for tool in tools if tool.name == "my_child"]
        await child.call(child.arguments.model_validate({{}}), Surroundings(Path()), None)
        print("open", flush=True)
        await asyncio.sleep(600)

asyncio.run(main())
"""
    worker = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    try:
        assert await asyncio.wait_for(worker.stdout.readline(), 30) == b"open\n"
        below = psutil.Process(worker.pid).children(recursive=True)
        assert len(below) == 3  # the keeper, the server, and what it started
    finally:
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
    await wait_until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in below))
