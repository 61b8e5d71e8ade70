"""The three services as processes that share a store, and what they write to stderr."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx2

from runcast_local.store import free_port
from tests.conftest import wait_until
from tests.workers import Process, service_process

AGENTS = """
[agents.llm]
engine = "llm"
model = "mine"
tools = ["shell", "list_files"]
[agents.demo]
engine = "demo"
"""
START_S = 30.0


@dataclass(frozen=True)
class Services:
    """`api` and `gateway`: clients of them. `processes`, with the lines they have written so far: by name."""

    api: httpx2.AsyncClient
    gateway: httpx2.AsyncClient
    processes: Mapping[str, Process]

    def lines(self, name: str) -> list[str]:
        return self.processes[name][1]

    async def submit(self, task: str, headers: Mapping[str, str] | None = None, **fields: object) -> dict[str, Any]:
        answer = await self.api.post("/api/tasks", json={"task": task, **fields}, headers=headers)
        assert answer.status_code == 202, answer.text
        receipt: dict[str, Any] = answer.json()
        return receipt

    async def events(self, task_id: str, query: str = "") -> list[dict[str, Any]]:
        """The stream of a task, to its end."""
        shown = []
        async with self.gateway.sse(f"/stream/tasks/{task_id}{query}") as source:
            async for block in source:
                payload: Any = block.json()
                shown.append({"event": block.event, **payload})
        return shown

    async def stop(self) -> None:
        """SIGTERM to all; returns when they have ended."""
        for process, _ in self.processes.values():
            process.terminate()
        async with asyncio.timeout(20):
            await asyncio.gather(*(process.wait() for process, _ in self.processes.values()))


@asynccontextmanager
async def running(
    folder: Path, redis_url: str, base_url: str, environ: Mapping[str, str] | None = None, **settings: object
) -> AsyncIterator[Services]:
    """Until the block ends. `base_url`: of the model. `environ`: besides the settings, which all of them get."""
    agents, ports = folder / "agents.toml", {"api": free_port(), "gateway": free_port()}
    agents.write_text(AGENTS)
    shared = {"redis_url": redis_url, "agents_file": agents, "drain_s": 0.2, **settings}
    worker = {"workspaces": folder / "workspaces", "llm_base_url": base_url, "lease_ttl_s": 1, "reap_every_s": 0.1}
    own: dict[str, dict[str, object]] = {"api": {"default_agent": "llm"}, "worker": worker, "gateway": {}}
    bases = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    async with AsyncExitStack() as stack:
        processes = {}
        for name, mine in own.items():
            all_of_them = {**shared, **mine, "port": ports.get(name, 0)}
            process = service_process(f"runcast_{name}", environ, **all_of_them)
            processes[name] = await stack.enter_async_context(process)
        clients = {
            name: await stack.enter_async_context(httpx2.AsyncClient(base_url=base, timeout=20, trust_env=False))
            for name, base in bases.items()
        }
        for name, (_, lines) in processes.items():
            await wait_until(partial(_is_up, lines), START_S, f"{name} is not up: {lines}")
        yield Services(clients["api"], clients["gateway"], processes)


def _is_up(lines: list[str]) -> bool:
    return any("is up" in line or "listening on" in line for line in lines)
