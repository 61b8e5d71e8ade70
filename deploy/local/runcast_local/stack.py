"""The local stack: store, api, worker, gateway and edge as processes of one machine, wired by ports and environment."""

import asyncio
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from urllib.parse import urlsplit

import httpx2

from runcast_local.errors import NoAgentsFile, PortBusy, StoreAway
from runcast_local.settings import StackSettings
from runcast_local.store import Store, find_program, free_port
from runcast_local.supervisor import Program, Ready, Supervisor

AGENTS_FILE = Path(__file__).with_name("agents.toml")
LOOPBACK = "127.0.0.1"
END_AFTER_DRAIN_S = 10.0
"""What a service may need beyond its drain: the worker gives its tasks and its tools some seconds each to let go."""


@dataclass(frozen=True, slots=True)
class Ports:
    edge: int
    api: int
    gateway: int
    api_admin: int
    gateway_admin: int
    worker_admin: int
    store: int

    @classmethod
    def of(cls, settings: StackSettings) -> "Ports":
        """Those that people know: two rows, each from its setting upward. The store's is any free one."""
        port, admin = settings.port, settings.admin_port
        return cls(port, port + 1, port + 2, admin, admin + 1, admin + 2, free_port())

    @classmethod
    def free(cls) -> "Ports":
        """Any that nobody uses now."""
        with ExitStack() as held:
            probes = [held.enter_context(socket.create_server((LOOPBACK, 0))) for _ in fields(cls)]
            return cls(*(probe.getsockname()[1] for probe in probes))

    def check(self, edge_host: str) -> None:
        """Raises PortBusy."""
        for field, port in zip(fields(self), astuple(self), strict=True):
            host = edge_host if field.name == "edge" else LOOPBACK
            with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
                # As the servers do; without it a port that was in use a minute ago would count as busy.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError as error:
                    setting = "RUNCAST_ADMIN_PORT" if field.name.endswith("admin") else "RUNCAST_PORT"
                    raise PortBusy(field.name.replace("_", " "), port, str(error.strerror), setting) from None


@dataclass(frozen=True, slots=True)
class Stack:
    """What runs where. `store` None: it runs elsewhere already. `environ` is what every process gets. `end_timeout_s`:
    how long each may take to end."""

    ports: Ports
    host: str
    store: Store | None
    environ: Mapping[str, str]
    end_timeout_s: float

    @property
    def url(self) -> str:
        """The one origin, as seen from this machine."""
        return f"http://{_reachable(self.host)}:{self.ports.edge}"

    async def start(self, supervisor: Supervisor) -> None:
        """Returns when everything serves; it ends with the supervisor. Raises PortBusy, StoreAway, ChildDied,
        NotReady."""
        self.ports.check(self.host)
        if self.store is not None:
            command, ready = self.store.command, _store_answers(self.store)
            await supervisor.start(Program("store", command, self.environ, ready, quiet=True))
        for setting in ("RUNCAST_REDIS_URL", "RUNCAST_EVENTS_REDIS_URL"):
            await _check_store(setting, self.environ[setting])
        ports = self.ports
        async with httpx2.AsyncClient(trust_env=False, timeout=2) as client:
            await supervisor.start(
                self._service(client, "api", "runcast_api", ports.api_admin, ports.api),
                self._service(client, "worker", "runcast_worker", ports.worker_admin),
                self._service(client, "gateway", "runcast_gateway", ports.gateway_admin, ports.gateway),
            )
            await supervisor.start(self._edge(client))

    def _service(self, client: httpx2.AsyncClient, name: str, module: str, admin: int, port: int = 0) -> Program:
        environ = {**self.environ, "RUNCAST_HOST": LOOPBACK, "RUNCAST_ADMIN_PORT": str(admin)}
        environ["RUNCAST_PORT"] = str(port)
        serving = [f"http://{LOOPBACK}:{admin}/livez", *([f"http://{LOOPBACK}:{port}/health"] if port else [])]
        return Program(name, (sys.executable, "-m", module), environ, _serves(client, *serving))

    def _edge(self, client: httpx2.AsyncClient) -> Program:
        environ = {**self.environ, "RUNCAST_HOST": self.host, "RUNCAST_PORT": str(self.ports.edge)}
        command = (sys.executable, "-m", "runcast_local", "edge")
        return Program("edge", command, environ, _serves(client, self.url))


def plan(
    settings: StackSettings, ports: Ports, folder: Path, environ: Mapping[str, str], agents_file: Path | None = None
) -> Stack:
    """The stack that keeps its data in `folder`, which is made. Raises NoStore, NoAgentsFile."""
    agents = (agents_file or settings.agents_file or AGENTS_FILE).resolve()
    if not agents.is_file():
        raise NoAgentsFile(agents)
    store = None
    redis_url = settings.redis_url
    if redis_url is None:
        store = Store(find_program(environ), folder.resolve() / "store", ports.store)
        redis_url = store.url
        store.data.mkdir(parents=True, exist_ok=True)
    workspaces = (settings.workspaces or folder / "workspaces").resolve()
    workspaces.mkdir(parents=True, exist_ok=True)
    ours = {
        "RUNCAST_REDIS_URL": redis_url,
        "RUNCAST_EVENTS_REDIS_URL": settings.events_redis_url or redis_url,
        "RUNCAST_AGENTS_FILE": str(agents),
        "RUNCAST_WORKSPACES": str(workspaces),
        "RUNCAST_DRAIN_S": str(settings.drain_s),
        "RUNCAST_API_URL": f"http://{LOOPBACK}:{ports.api}",
        "RUNCAST_GATEWAY_URL": f"http://{LOOPBACK}:{ports.gateway}",
    }
    # Its lines go through a pipe of ours, and are read by people.
    theirs = {"RUNCAST_LOG_FORMAT": "console", **environ}
    return Stack(ports, settings.host, store, {**theirs, **ours}, settings.drain_s + END_AFTER_DRAIN_S)


async def _check_store(setting: str, url: str) -> None:
    """Raises StoreAway. The services themselves would wait for it, however long."""
    parts = urlsplit(url)
    if parts.hostname is None or parts.scheme.endswith("+sentinel"):
        return  # a Unix socket, or several servers
    host, port = parts.hostname, parts.port or 6379
    try:
        async with asyncio.timeout(2):
            _, writer = await asyncio.open_connection(host, port)
        writer.close()
    except OSError as error:
        raise StoreAway(setting, f"{host}:{port}", error.strerror or "no answer in 2 s") from None


def _store_answers(store: Store) -> Ready:
    async def ready() -> bool:
        return await asyncio.to_thread(store.answers)

    return ready


def _serves(client: httpx2.AsyncClient, *urls: str) -> Ready:
    async def ready() -> bool:
        try:
            return all([(await client.get(url)).is_success for url in urls])
        except httpx2.TransportError:
            return False

    return ready


def _reachable(host: str) -> str:
    if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
        return LOOPBACK
    return f"[{host}]" if ":" in host else host
