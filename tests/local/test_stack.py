"""The local stack's plan: ports, environment, agents; and as a whole, run as people run it."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from pydantic import ValidationError

from runcast_agents import load_agents
from runcast_local.errors import PortBusy, StoreAway
from runcast_local.settings import StackSettings
from runcast_local.stack import AGENTS_FILE, Ports, plan
from runcast_local.store import free_port
from runcast_local.supervisor import Supervisor
from tests.conftest import wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def row() -> int:
    """The first of three free ports in a row."""
    while True:
        with contextlib.ExitStack() as held, contextlib.suppress(OSError, OverflowError):
            first = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            for port in (first + 1, first + 2):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return int(first)


def environ(**settings: object) -> dict[str, str]:
    """Ours, without any setting of whoever runs the tests."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RUNCAST_")}
    return inherited | {f"RUNCAST_{name.upper()}": str(value) for name, value in settings.items()}


@asynccontextmanager
async def runcast(command: str, cwd: Path, **settings: object) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m runcast_local <command>` as a terminal would start it; killed where the test left it running."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runcast_local", command),
        cwd=cwd,
        env=environ(**settings),
        stdout=pipe,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def read_until(process: asyncio.subprocess.Process, text: str) -> str:
    """The output up to and with the line that contains `text`."""
    assert process.stdout is not None
    shown = ""
    async with asyncio.timeout(30):
        while text not in shown:
            line = await process.stdout.readline()
            assert line, f"ended without {text!r}:\n{shown}"
            shown += line.decode()
    return shown


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def command_line(pid: int) -> str:
    """Empty for a process that is no more, or is only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def running(pids: list[int]) -> list[int]:
    return [pid for pid in pids if command_line(pid)]


def test_one_setting_moves_a_whole_row_of_ports() -> None:
    """RUNCAST_PORT moves edge, api and gateway; RUNCAST_ADMIN_PORT the admin ports."""
    ports = Ports.of(StackSettings(port=9000, admin_port=9500))
    assert (ports.edge, ports.api, ports.gateway) == (9000, 9001, 9002)
    assert (ports.api_admin, ports.gateway_admin, ports.worker_admin) == (9500, 9501, 9502)


def test_a_row_that_does_not_fit_is_refused() -> None:
    """65534 would leave no port for the gateway."""
    with pytest.raises(ValidationError, match="less than or equal to 65533"):
        StackSettings(port=65534)


def test_a_busy_port_is_named_with_the_setting_that_moves_it(taken: int) -> None:
    """Before anything is started."""
    with pytest.raises(PortBusy, match=rf"port {taken} \(api\) cannot be used: Address already in use.*RUNCAST_PORT "):
        Ports(*(row(), taken, *(row() for _ in range(5)))).check("127.0.0.1")
    with pytest.raises(PortBusy, match=rf"port {taken} \(worker admin\).*RUNCAST_ADMIN_PORT "):
        Ports(*(*(row() for _ in range(5)), taken, row())).check("127.0.0.1")


def test_a_port_is_free_again_right_after_its_user() -> None:
    """`up` can be started anew at once, although connections of the last run linger in TIME_WAIT."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            listener.accept()[0].close()  # the side that closes first is the one that lingers
    Ports(port, *(row() for _ in range(6))).check("127.0.0.1")


def test_free_ports_are_all_different() -> None:
    """And within what a port can be."""
    ports = Ports.free()
    assert len({getattr(ports, name) for name in Ports.__dataclass_fields__}) == 7


def test_a_store_of_ones_own_is_used_and_none_started(tmp_path: Path) -> None:
    """RUNCAST_REDIS_URL serves both roles unless the events have a URL of their own."""
    settings = StackSettings(redis_url="redis://elsewhere:6379/1")
    stack = plan(settings, Ports.free(), tmp_path, {"PATH": ""})
    assert stack.store is None
    assert stack.environ["RUNCAST_REDIS_URL"] == stack.environ["RUNCAST_EVENTS_REDIS_URL"] == settings.redis_url
    both = settings.model_copy(update={"events_redis_url": "redis://other:6379/1"})
    assert plan(both, Ports.free(), tmp_path, {}).environ["RUNCAST_EVENTS_REDIS_URL"] == "redis://other:6379/1"


@pytest.mark.parametrize(("drain_s", "told"), [(None, 1.0), ("40", 40.0), ("", 1.0)])
def test_services_are_given_the_time_to_end_that_they_are_told_to_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drain_s: str | None, told: float
) -> None:
    """Whoever kills a worker before its drain is over makes a crash of it: ten seconds beyond, as its settings say."""
    if drain_s is not None:
        monkeypatch.setenv("RUNCAST_DRAIN_S", drain_s)
    stack = plan(StackSettings(redis_url="redis://elsewhere:6379/1"), Ports.free(), tmp_path, os.environ)
    assert float(stack.environ["RUNCAST_DRAIN_S"]) == told
    assert stack.end_timeout_s == told + 10


def test_the_agents_to_develop_with_need_nothing_but_a_model() -> None:
    """The file that comes with the package is one that the services accept."""
    agents = load_agents(AGENTS_FILE)
    assert {name: agent.engine for name, agent in agents.items()} == {"demo": "demo", "script": "script", "llm": "llm"}


async def test_up_serves_everything_on_one_origin_and_ctrl_c_ends_it(tmp_path: Path) -> None:
    """Exit 0 within seconds, no traceback, no process left, and the data is still there the next time."""
    port, admin = row(), row()
    for expected in ([], ["kept"]):
        async with runcast("up", tmp_path, port=port, admin_port=admin) as process:
            shown = await read_until(process, "Try it")
            assert f"Runcast is up: http://localhost:{port} " in shown
            async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=10) as client:
                links = (await client.get("/")).json()
                for path in (links["docs"], links["openapi"], "/stream/stats"):
                    assert (await client.get(path)).status_code == 200, path
                assert (await client.get("/api/sessions")).json()["sessions"] == expected
                task = {"task": "List the files", "session_id": "kept"}
                task_id = (await client.post("/api/tasks", json=task)).json()["task_id"]
                stream = await client.get(f"/stream/tasks/{task_id}")
            assert "event: task_complete" in stream.text
            pids = children(process.pid)
            assert len(running(pids)) == 5
            process.send_signal(signal.SIGINT)
            output, _ = await asyncio.wait_for(process.communicate(), 10)
            assert process.returncode == 0, output.decode()
            assert "Traceback" not in output.decode()
            assert not running(pids)


async def test_a_service_that_dies_ends_the_stack_with_its_name(tmp_path: Path) -> None:
    """Nothing is restarted behind the developer's back."""
    async with runcast("up", tmp_path, port=row(), admin_port=row()) as process:
        await read_until(process, "Try it")
        pids = children(process.pid)
        os.kill(next(pid for pid in pids if "runcast_worker" in command_line(pid)), signal.SIGKILL)
        output, _ = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == 1
        assert re.search(r"^runcast up: worker ended by signal 9", output.decode(), re.MULTILINE)
        assert not running(pids)


async def test_a_second_stack_on_the_same_data_is_refused(tmp_path: Path) -> None:
    """Two stores on the same files would ruin them; a stack that is killed leaves neither lock nor process."""
    async with runcast("up", tmp_path, port=row(), admin_port=row()) as first:
        await read_until(first, "Try it")
        async with runcast("up", tmp_path, port=row(), admin_port=row()) as second:
            output, _ = await asyncio.wait_for(second.communicate(), 10)
            assert second.returncode == 1
            assert b"another stack keeps its data in" in output
        pids = children(first.pid)
        first.kill()
        await first.wait()
        await wait_until(lambda: not running(pids))


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"port": "eighty"}, "RUNCAST_PORT: Input should be a valid integer"),
        ({"drain_s": "-1"}, "RUNCAST_DRAIN_S: Input should be greater than or equal to 0"),
        ({"agents_file": "none.toml"}, "none.toml: expected a file"),
        ({"agents_file": ROOT / "Makefile"}, "Makefile: not TOML"),
        ({"redis_url": "redis://127.0.0.1:1/0"}, "RUNCAST_REDIS_URL (127.0.0.1:1) does not answer"),
    ],
)
async def test_a_wrong_setting_is_told_without_a_traceback(
    tmp_path: Path, taken: int, setting: dict[str, object], said: str
) -> None:
    """By the name under which it was set; what a service refuses comes with the service's own words."""
    if "agents_file" in setting:
        setting = setting | {
            "redis_url": f"redis://127.0.0.1:{taken}/0"
        }  # something answers there: no store is started
    async with runcast("up", tmp_path, **({"port": row(), "admin_port": row()} | setting)) as process:
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 1
    assert said in output.decode()
    assert "Traceback" not in output.decode()


async def test_the_demo_drops_resumes_and_verifies() -> None:
    """One task through every hop; exit 0 only when both connections together showed exactly the log."""
    async with runcast("demo", ROOT) as process:
        output, _ = await asyncio.wait_for(process.communicate(), 50)
    shown = output.decode()
    assert process.returncode == 0, shown
    dropped, resumed = shown.index("--- connection dropped after"), shown.index("--- resumed with Last-Event-ID:")
    assert shown.index("tool_call_start") < dropped < resumed < shown.index("task_complete")
    assert "verified against the log: nothing missing, nothing twice" in shown
    assert "Traceback" not in shown


async def test_a_store_that_does_not_answer_is_told_by_its_setting(tmp_path: Path) -> None:
    """Instead of a stack that is up and can do nothing."""
    settings = StackSettings.model_validate({"redis_url": f"redis://127.0.0.1:{free_port()}/0"})
    stack = plan(settings, Ports.free(), tmp_path, {})
    async with Supervisor(5) as supervisor:
        with pytest.raises(StoreAway, match="RUNCAST_REDIS_URL"):
            await stack.start(supervisor)
