"""Every way out that we know, tried in each tier that this machine has; the worker goes on after each."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

import runcast_worker.sandbox.child as child_module
from runcast_agents import SandboxPolicy
from runcast_worker.guard import landlock, seccomp
from runcast_worker.sandbox import Sandbox, Tier
from tests.conftest import wait_until
from tests.worker.sandbox.escapes import ESCAPES, Escape, table
from tests.worker.sandbox.machine import TIERS, remains

CALL_S = 1.0
POLICY = {"memory_mb": 256, "processes": 24, "file_mb": 8, "disk_mb": 16, "cpu_s": 1}
PYTHON = str(Path(sys.executable).resolve())
VICTIM = "from runcast_worker.sandbox import hide; hide(); print('ready', flush=True); input()"


@dataclass
class Place:
    """A workspace with things beside it that are none of its command's business."""

    workspace: Path
    names: dict[str, Any]


class Echo(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._transport.sendto(data, addr)


@pytest.fixture(scope="module")
def worker() -> Iterator[int]:
    """Stands for a worker: hidden as a worker is, with a secret in its environment."""
    environ = {**os.environ, "CANARY": "canary-of-the-worker"}
    pipe = subprocess.PIPE
    with subprocess.Popen((sys.executable, "-c", VICTIM), env=environ, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"ready\n"
        yield process.pid
        assert process.poll() is None, "it did not survive"
        process.stdin.close()


@pytest.fixture
async def place(worker: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    """In the home folder, because /tmp is every command's."""
    monkeypatch.setenv("CANARY", "canary-of-the-worker")
    folder = Path(tempfile.mkdtemp(prefix="runcast-escapes-", dir=Path.home()))
    mark = f"{folder.name}-{os.getpid()}"

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(9))
        writer.close()

    terminal = os.openpty()
    try:
        (folder / "workspace").mkdir()
        (folder / "secret.txt").write_text("secret\n")
        tcp = await asyncio.start_server(answer, "127.0.0.1", 0)
        unix = await asyncio.start_unix_server(answer, folder / "socket")
        abstract = await asyncio.start_unix_server(answer, "\0" + mark)
        echo, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, ("127.0.0.1", 0))
        udp = echo.get_extra_info("sockname")[1]
        port = tcp.sockets[0].getsockname()[1]
        names = {"port": port, "udp": udp, "worker": worker, "mark": mark, "home": Path.home()}
        yield Place(folder / "workspace", {**names, "pts": os.ttyname(terminal[1])})
        for server in (tcp, unix, abstract):
            server.close()
        echo.close()
    finally:
        for end in terminal:
            os.close(end)
        for inner in (folder / "workspace").glob("*/"):  # one of them may be closed to its owner
            inner.chmod(0o700)
        shutil.rmtree(folder)


async def attempt(sandbox: Sandbox, escape: Escape, place: Place) -> tuple[str, str]:
    """What came of it, and what it said."""
    inside = "test $(cat /proc/1/comm) = bwrap"
    names = {
        **place.names,
        "alone": inside if sandbox.tier == "bubblewrap" else "! kill -0 $PPID 2>/dev/null",
        # Its parent is bubblewrap's init there, which is the command's own; SIGKILL does not reach it.
        "leave_parent": "kill -9 $PPID; kill -9 1; exit;" if sandbox.tier == "bubblewrap" else "",
    }
    text = (escape.program or escape.command).format(**names)
    argv = (PYTHON, "-I", "-S", "-c", text) if escape.program else ("/bin/sh", "-c", text)
    policy = SandboxPolicy(read=(Path(sys.base_prefix),), **{**POLICY, **escape.policy})
    said, late = b"", False
    async with sandbox.run(argv, place.workspace, policy) as running:
        reading = asyncio.gather(read(running.stdout), read(running.stderr))
        try:
            async with asyncio.timeout(CALL_S if "call" in escape.reduced else 8):
                await running.wait()
        except TimeoutError:
            late = True
    said = b"".join(await reading)
    if b"ESCAPED" in said:
        return "open", said.decode(errors="replace")
    outcome = "ends with the call" if late else running.killed or "closed"
    return outcome, said[-2000:].decode(errors="replace")


async def read(reader: asyncio.StreamReader) -> bytes:
    """The end of it, until there is no more; a flood is not kept."""
    kept = b""
    while data := await reader.read(64 * 1024):
        kept = (kept + data)[-64 * 1024 :]
    return kept


@pytest.mark.parametrize("escape", ESCAPES, ids=lambda escape: escape.name)
@pytest.mark.parametrize("tier", TIERS)
async def test_an_escape_comes_to_what_is_documented(
    tier: Tier, escape: Escape, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And then no process of it is left, the event loop has run all the while, and the next command works."""
    unfiltered = escape.filter and seccomp.missing()
    if tier == "reduced" and (unfiltered or landlock.version() < escape.landlock):
        pytest.skip("open here: it would do what it says")
    monkeypatch.setattr(child_module, "GRACE_S", 0.3)
    sandbox, longest = Sandbox(tier), Stall()
    async with longest:
        outcome, said = await attempt(sandbox, escape, place)
    expected = escape.bubblewrap if tier == "bubblewrap" else escape.reduced
    assert outcome == expected, said
    await wait_until(lambda: not remains(place.workspace, place.names["mark"]), 2, "a process of the command is left")
    assert longest.seconds < 1.5
    async with sandbox.run(("/bin/echo", "fine"), place.workspace, SandboxPolicy()) as running:
        assert await running.stdout.read() == b"fine\n"


class Stall:
    """How long the event loop stood still at the most."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def __aenter__(self) -> "Stall":
        self._ticking = asyncio.create_task(self._tick())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)

    async def _tick(self) -> None:
        last = monotonic()
        while True:
            await asyncio.sleep(0.02)
            last, before = monotonic(), last
            self.seconds = max(self.seconds, last - before)


def test_there_are_many_ways_to_try() -> None:
    """The table does not shrink unnoticed, and no two rows are of one name."""
    assert len({escape.name for escape in ESCAPES}) == len(ESCAPES) >= 45


def test_the_table_of_escapes_is_the_documented_one() -> None:
    """docs/sandbox.md shows what is tried, and what is promised of it."""
    text = (Path(__file__).parents[3] / "docs" / "sandbox.md").read_text()
    rows = text.partition("| a command tries |")[2].partition("\n\n")[0].splitlines()[2:]
    assert rows == table(), "docs/sandbox.md should have these rows:\n" + "\n".join(table())
