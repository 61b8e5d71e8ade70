"""The local stack for the tour: real processes on free ports, and one client before them, as a user would be."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from websockets.sync.client import ClientConnection, connect

from runcast_local import leash
from runcast_local.settings import StackSettings
from runcast_local.stack import LOOPBACK, Ports, plan
from tests.conftest import wait_until

CONTROL = frozenset({"connected", "cursor", "gap", "end", "draining"})
"""Frames that the gateway makes itself; everything else is an event of the log."""


@dataclass(frozen=True)
class Block:
    """One block of a stream: its name, its id (a cursor), its data."""

    name: str
    id: str
    data: Any


class FrontDoor:
    """A client before a running stack, whatever that runs on. `http` talks to its one origin, `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx2.Client(base_url=url, trust_env=False, timeout=20)

    def submit(self, task: str, **fields: object) -> dict[str, Any]:
        """POST /api/tasks; the receipt."""
        answer = self.http.post("/api/tasks", json={"task": task, **fields})
        assert answer.status_code == 202, answer.text
        receipt: dict[str, Any] = answer.json()
        return receipt

    def watch(self, path: str, cursor: str = "") -> Iterator[Block]:
        """The blocks of a stream as they come, until it ends or the caller stops taking them."""
        headers = {"Last-Event-ID": cursor} if cursor else {}
        with self.http.sse(path, headers=headers) as source:
            assert source.response.status_code == 200, source.response.read()
            for block in source:
                if block.data:  # a block that sets `retry` only is none
                    yield Block(block.event, block.id, block.json())

    def talk(self, path: str) -> ClientConnection:
        """A WebSocket, as a context manager."""
        return connect(self.url.replace("http", "ws", 1) + path, proxy=None)

    def log(self, session_id: str) -> list[str]:
        """The ids of all events of a session, from the api: what streams are compared with."""
        page = self.http.get(f"/api/sessions/{session_id}/events", params={"limit": 1000}).json()
        assert page["next"] is None
        return [event["id"] for event in page["data"]]


class Runcast(FrontDoor):
    """A stack in `folder`, as processes of this machine."""

    def __init__(self, folder: Path) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNCAST_")}
        # model_construct: the defaults alone, whatever the environment of whoever runs the tests says.
        self._stack = plan(
            StackSettings.model_construct(), Ports.free(), folder, clean | {"RUNCAST_LOG_LEVEL": "WARNING"}
        )
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        super().__init__(self._stack.url)

    @contextmanager
    def up(self) -> Iterator["Runcast"]:
        assert self._stack.store is not None
        with self._stack.store, self.http:
            try:
                for name in ("api", "worker", "gateway", "edge"):
                    self.start(name)
                for name in ("api", "worker", "gateway", "edge"):
                    self.wait_for(name)
                yield self
            finally:
                for process in reversed(self._running.values()):
                    process.terminate()
                for process in self._running.values():
                    process.wait(10)

    def start(self, name: str) -> None:
        """Start one of the processes, as production would: `python -m …` and RUNCAST_* in the environment."""
        ports = self._stack.ports
        port, admin = {
            "api": (ports.api, ports.api_admin),
            "worker": (0, ports.worker_admin),
            "gateway": (ports.gateway, ports.gateway_admin),
            "edge": (ports.edge, 0),
        }[name]
        module = ("runcast_local", "edge") if name == "edge" else (f"runcast_{name}",)
        ours = {"RUNCAST_PORT": str(port), "RUNCAST_ADMIN_PORT": str(admin)}
        bound = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()))
        self._running[name] = subprocess.Popen(
            (*bound, sys.executable, "-m", *module), env={**self._stack.environ, **ours}, stdin=subprocess.DEVNULL
        )

    def wait_for(self, name: str) -> None:
        """Return when the process serves."""
        ports = self._stack.ports
        admin = {"api": ports.api_admin, "worker": ports.worker_admin, "gateway": ports.gateway_admin}
        # Not /livez: that answers while the client port is still closed.
        url = self._stack.url if name == "edge" else f"http://{LOOPBACK}:{admin[name]}/readyz"

        def serves() -> bool:
            try:
                return httpx2.get(url, trust_env=False).is_success
            except httpx2.TransportError:
                return False

        asyncio.run(wait_until(serves, message=f"{name} did not become ready"))

    def kill(self, name: str) -> None:
        """`kill -9`: no goodbye, no cleaning up."""
        process = self._running.pop(name)
        process.kill()
        process.wait(10)


def ids(blocks: list[Block]) -> list[str]:
    """The ids of the events among the blocks."""
    return [block.id for block in blocks if block.name not in CONTROL]


def names(blocks: list[Block]) -> list[str]:
    """The types of the events among the blocks."""
    return [block.name for block in blocks if block.name not in CONTROL]
