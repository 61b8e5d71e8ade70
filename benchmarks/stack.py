"""Processes of the product, started as a deployment starts them, pinned to cores, and ended with the benchmark."""

import http.client
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import runcast_local
from runcast_local.store import Program, Store, find_program, free_port

LOOPBACK = "127.0.0.1"
READY_S = 20.0
END_S = 10.0
AGENTS = '[agents.script]\nengine = "script"\n'
LEASH = Path(runcast_local.__file__).with_name("leash.py")


class NotReady(Exception):
    """A process ended or did not serve in time; the text has its last lines."""


def cores() -> tuple[int, int] | None:
    """The core for what is measured, and the one for store and load; None where there are not two."""
    ours = sorted(os.sched_getaffinity(0))
    return (ours[0], ours[1]) if len(ours) > 1 else None


def allow_files() -> None:
    """Terminals often start with 1024 open files; every stream takes one here and one in the gateway."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def embedded() -> Program | None:
    """The store that comes with the development packages, whatever is on PATH."""
    program = find_program({"PATH": ""})
    return program if program.origin == "embedded" else None


class Process:
    """One child. `pid` is the program's own: the leash, which ends it should we be killed, becomes the program."""

    def __init__(self, name: str, command: tuple[str, ...], environ: dict[str, str], folder: Path, core: int | None):
        self.name, self.output = name, folder / f"{name}.out"
        with self.output.open("wb") as output:
            self._child = subprocess.Popen(
                (sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), *command),
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=0,
            )
        self.pid = self._child.pid
        if core is not None:
            os.sched_setaffinity(self.pid, {core})  # in time: what the leash becomes, and its threads, inherit it

    @property
    def running(self) -> bool:
        return self._child.poll() is None

    def end(self) -> None:
        self._child.terminate()
        try:
            self._child.wait(END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def said(self) -> str:
        return "\n".join(self.output.read_text(errors="replace").splitlines()[-12:])


class Stack:
    """Use as a context manager. Every method starts one process and returns when it serves. Raises NotReady.

    `pinned`: what is measured gets the first core, the store the second, where also this process then runs.
    """

    def __init__(self, *, pinned: bool = True, agents: str = AGENTS, **settings: str) -> None:
        self._cores = cores() if pinned else None
        self._agents = agents
        self._settings = settings
        self._ending = ExitStack()
        self._folder = Path()
        self.redis_url = ""
        self.api_port = self.gateway_port = 0

    def __enter__(self) -> "Stack":
        allow_files()
        before = os.sched_getaffinity(0)
        self._ending.callback(os.sched_setaffinity, 0, before)
        if self._cores:
            os.sched_setaffinity(0, {self._cores[1]})
        self._folder = Path(self._ending.enter_context(tempfile.TemporaryDirectory(prefix="runcast-bench-")))
        (self._folder / "agents.toml").write_text(self._agents)
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.close()

    def move_here(self) -> None:
        """This process is what is measured: onto the first core."""
        if self._cores:
            os.sched_setaffinity(0, {self._cores[0]})

    def store(self, program: Program | None = None) -> Process:
        """With its data on disk, as `make dev` runs it."""
        store = Store(program or find_program({"PATH": os.environ.get("PATH", "")}), self._folder / "store")
        store.data.mkdir()
        process = self._start("store", store.command, self._cores and self._cores[1])
        self.redis_url = store.url
        self._wait(process, store.answers)
        return process

    def api(self) -> Process:
        self.api_port = free_port()
        return self._service("api", ("-m", "runcast_api"), self.api_port)

    def gateway(self, name: str = "gateway", module: str = "runcast_gateway") -> Process:
        """`gateway_port` is that of the last one."""
        self.gateway_port = free_port()
        return self._service(name, ("-m", module), self.gateway_port)

    def worker(self, *arguments: str) -> Process:
        """`arguments`: to Python, where it is not the plain worker."""
        return self._service("worker", arguments or ("-m", "runcast_worker"), 0)

    def model(self, port: int) -> Process:
        """A stub of a model, on the core of store and load."""
        command = (sys.executable, "-m", "runcast_local.model", "--port", str(port))
        process = self._start("model", command, self._cores and self._cores[1])
        self._wait(process, lambda: _healthy(port, "/v1/models"))
        return process

    def peer(self, name: str, command: tuple[str, ...], port: int) -> Process:
        """Another program that is measured: it serves when its port takes connections."""
        process = self._start(name, command, self._cores and self._cores[0])
        self._wait(process, lambda: _listens(port))
        return process

    @property
    def folder(self) -> Path:
        """Ends with the stack."""
        return self._folder

    def _service(self, name: str, arguments: tuple[str, ...], port: int) -> Process:
        admin = free_port()
        command = (sys.executable, *arguments)
        process = self._start(name, command, self._cores and self._cores[0], port=str(port), admin_port=str(admin))
        self._wait(process, lambda: _healthy(admin, "/readyz"))
        return process

    def _start(self, name: str, command: tuple[str, ...], core: int | None, **settings: str) -> Process:
        ours = {
            "redis_url": self.redis_url,
            "log_level": "WARNING",
            "default_agent": "script",
            "agents_file": str(self._folder / "agents.toml"),
            "workspaces": str(self._folder / "workspaces"),
            **self._settings,
            **settings,
        }
        environ = {name: value for name, value in os.environ.items() if not name.startswith("RUNCAST_")}
        environ |= {f"RUNCAST_{name.upper()}": value for name, value in ours.items() if value}
        process = Process(name, command, environ, self._folder, core)
        self._ending.callback(process.end)
        return process

    def _wait(self, process: Process, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_S
        while not ready():
            if not process.running or time.monotonic() > deadline:
                raise NotReady(f"{process.name} does not serve; its last lines:\n{process.said()}")
            time.sleep(0.02)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((LOOPBACK, port), timeout=2).close()
    except OSError:
        return False
    return True


def _healthy(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()
