"""A deployment on this machine that a test may break: an api, two gateways, two workers, their store, a Redis exporter,
and a Prometheus that looks every second."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType

import httpx2
import yaml

from runcast_local import leash
from runcast_local.model import Script, Stub, serving
from runcast_local.model.characters import stub as in_character
from runcast_local.store import Store, find_program, free_port
from tests.conftest import wait_until
from tests.monitoring.overlay import SCRAPE_S
from tests.monitoring.prometheus import Prometheus
from tests.proxy import Proxy, running_proxy

PRICED = "gpt-4.1-mini"
"""A model whose price is known, played by the stub."""
AGENTS = f"""
[agents.demo]
engine = "demo"
[agents.script]
engine = "script"
[agents.llm]
engine = "llm"
model = "{PRICED}"
models = ["stub-429", "stub-401", "stub-think"]
[agents.deadly]
engine = "python"
entry = "deadly:run"
"""
DEADLY = """
import os

async def run(task):
    os._exit(1)
    yield
"""
ENVIRON = {
    "RUNCAST_LEASE_TTL_S": "2",
    "RUNCAST_REAP_EVERY_S": "0.5",
    "RUNCAST_DRAIN_S": "1",
    "RUNCAST_LOG_MAX_ENTRIES": "10000",
    "RUNCAST_LLM_RETRIES": "1",
    "OPENAI_API_KEY": "none",
}
START_S = 60.0


class Process:
    """One of a service's. `admin`: its admin port, which stays what it is when it is started again."""

    def __init__(
        self, command: tuple[str, ...], environ: Mapping[str, str], log: Path, admin: int, port: int = 0
    ) -> None:
        self._command, self._environ, self._log = command, environ, log
        self.admin, self.port = admin, port
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._popen is not None
        return self._popen.pid

    def start(self) -> None:
        bound = (sys.executable, "-I", "-S", leash.__file__, str(os.getpid()))
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                (*bound, *self._command), env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, also for one that stands still."""
        if self._popen is not None:
            self._popen.kill()
            self._popen.wait(10)

    @property
    def ended(self) -> bool:
        return self._popen is not None and self._popen.poll() is not None

    async def serves(self) -> bool:
        assert not self.ended, self._log.read_text()[-2000:]
        return await _answers(f"http://127.0.0.1:{self.admin}/readyz")


async def _answers(url: str) -> bool:
    async with httpx2.AsyncClient(trust_env=False, timeout=2) as http:
        try:
            return (await http.get(url)).is_success
        except httpx2.HTTPError:
            return False


class Deployment:
    """Use as an async context manager. `settings`: RUNCAST_* of all processes, without the prefix. `proxied`: names of
    processes (api, gateway-0, gateway-1, worker-0, worker-1) that reach the store by one of `proxies`. `programs`: what
    to run instead of `python -m` a service, by name. `scripts`: of the models' stub. `rules`: alerts."""

    def __init__(
        self,
        folder: Path,
        *,
        settings: Mapping[str, str] | None = None,
        proxied: Collection[str] = (),
        programs: Mapping[str, tuple[str, ...]] | None = None,
        scripts: Mapping[str, Script] | None = None,
        rules: Mapping[str, object] | None = None,
    ) -> None:
        self.folder, self._proxied, self._programs = folder, proxied, programs or {}
        self.proxies: dict[str, Proxy] = {}
        self._rules = {**(rules or {})}
        self._settings = {f"RUNCAST_{name.upper()}": value for name, value in (settings or {}).items()}
        self.store = Store(find_program(), folder / "store", options=("--maxmemory", "512mb"))
        self.stub = Stub({PRICED: in_character, **(scripts or {})})
        self.prometheus = Prometheus(f"http://127.0.0.1:{free_port()}")
        self._owner = AsyncExitStack()

    async def __aenter__(self) -> "Deployment":
        try:
            await self._start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._owner.aclose()

    async def _start(self) -> None:
        (self.folder / "agents.toml").write_text(AGENTS)
        (self.folder / "deadly.py").write_text(DEADLY)
        await asyncio.to_thread(self.store.start)
        self._owner.callback(self.store.stop)
        for name in self._proxied:
            self.proxies[name] = await self._owner.enter_async_context(running_proxy(self.store.port))
        base_url = await self._owner.enter_async_context(serving(self.stub))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("RUNCAST_")}
        self._environ = {
            **clean,
            **ENVIRON,
            "PYTHONPATH": str(self.folder),
            "RUNCAST_REDIS_URL": self.store.url,
            "RUNCAST_AGENTS_FILE": str(self.folder / "agents.toml"),
            "RUNCAST_WORKSPACES": str(self.folder / "workspaces"),
            "RUNCAST_LLM_BASE_URL": base_url,
            **self._settings,
        }
        self.api = self._service("api", "api", free_port())
        self._environ["RUNCAST_API_URL"] = self.api.url
        self.gateways = [self._service(f"gateway-{each}", "gateway", free_port()) for each in range(2)]
        self.workers = [self._service(f"worker-{each}", "worker") for each in range(2)]
        shown = free_port()
        exporter = (
            "prometheus-redis-exporter",
            "-redis.addr",
            self.store.url,
            "-web.listen-address",
            f"127.0.0.1:{shown}",
        )
        self.exporter = self._process("exporter", exporter, {}, shown)
        prometheus = self._process("prometheus", self._prometheus(), {}, 0)
        for process in (*self.services, self.exporter):
            process.start()
        for process in self.services:
            await wait_until(process.serves, START_S, "a service does not come up")
        prometheus.start()
        await wait_until(self.prometheus.sees_all, START_S, "Prometheus does not see all")

    @property
    def services(self) -> list[Process]:
        return [self.api, *self.gateways, *self.workers]

    def _service(self, name: str, service: str, port: int = 0) -> Process:
        admin = free_port()
        environ = {"RUNCAST_PORT": str(port), "RUNCAST_ADMIN_PORT": str(admin)}
        if name in self.proxies:
            environ["RUNCAST_REDIS_URL"] = self.proxies[name].url
        command = self._programs.get(name, (sys.executable, "-m", f"runcast_{service}"))
        return self._process(name, command, environ, admin, port)

    def _process(
        self, name: str, command: tuple[str, ...], environ: Mapping[str, str], admin: int, port: int = 0
    ) -> Process:
        process = Process(command, {**self._environ, **environ}, self.folder / f"{name}.log", admin, port)
        self._owner.callback(process.kill)
        return process

    def _prometheus(self) -> tuple[str, ...]:
        targets = {"api": [self.api], "gateway": self.gateways, "worker": self.workers, "redis": [self.exporter]}
        config = self.folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(_config(targets)))
        (self.folder / "rules.yml").write_text(yaml.safe_dump(self._rules))
        options = {
            "config.file": config,
            "storage.tsdb.path": self.folder / "tsdb",
            "web.listen-address": self.prometheus.url.removeprefix("http://"),
            "log.level": "warn",
        }
        return ("prometheus", *(f"--{name}={value}" for name, value in options.items()))


def _config(targets: Mapping[str, list[Process]]) -> dict[str, object]:
    """As deploy/prometheus/prometheus.yml, but for where the processes are and how often they are looked at."""
    jobs = [
        {"job_name": job, "static_configs": [{"targets": [f"127.0.0.1:{each.admin}" for each in processes]}]}
        for job, processes in targets.items()
    ]
    every = f"{SCRAPE_S}s"
    return {
        "global": {"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
        "rule_files": ["rules.yml"],
        "scrape_configs": jobs,
    }
