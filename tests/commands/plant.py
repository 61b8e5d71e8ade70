"""A worker as a deployment has it, a process, with everything that a task may hang in; and the api before it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from runcast_api.settings import ApiSettings
from runcast_events.redis import connect
from runcast_local.model import Stub, serving
from runcast_worker.python import Say, Step, Task
from tests.api.running import Api
from tests.api.running import running as api_running
from tests.commands.pages import Pages
from tests.conftest import wait_until
from tests.local.upstream import served
from tests.worker.conftest import Client, client_of
from tests.worker.mcp.test_mcp import TOOLS
from tests.worker.mcp.test_mcp_http import ENVIRON
from tests.worker.mcp.test_mcp_http import serving as serving_tools
from tests.workers import worker_process

MODELS = ["stub", "stub-loop", "stub-stall", "stub-timeout"]
LLM = """
[agents.{name}]
engine = "llm"
model = "stub"
models = {models}
{more}
"""
OTHERS = """
[agents.python]
engine = "python"
entry = "{module}:hangs"

[agents.process]
engine = "process"
command = ["/bin/sh", "-c", "{{prompt}}"]

[agents.demo]
engine = "demo"
"""


async def hangs(task: Task) -> AsyncIterator[Step]:
    """In itself, in a tool, or not willing to stop."""
    how, _, mark = task.prompt.partition(" ")
    yield Say("I begin.")
    if how == "tool":
        await task.call("shell", command=f"sleep {mark}")
    try:
        await asyncio.sleep(600)
    except asyncio.CancelledError:
        if how == "unwilling":
            await asyncio.sleep(1.5)
        raise


@dataclass
class Plant:
    """`worker`: the process, with this `sandbox`. `folder`: where its workspaces are, and what MCP tools leave."""

    sandbox: str
    api: Api
    client: Client
    worker: psutil.Process
    lines: list[str]
    stub: Stub
    pages: Pages
    origin: str
    folder: Path
    model_port: int
    sessions: int = 0

    def new_session(self) -> str:
        self.sessions += 1
        return f"s{self.sessions}"

    def workspace(self, session_id: str) -> Path:
        return self.folder / "workspaces" / "default" / session_id

    def descriptors(self) -> list[str]:
        """What the worker has open, but for its connections to the store and to the model, which are pooled."""
        pooled = {self.client.redis.connection_pool.connection_kwargs["port"], self.model_port}
        sockets = {c.fd for c in self.worker.net_connections("tcp") if c.raddr and c.raddr.port in pooled}
        found = []
        for entry in Path(f"/proc/{self.worker.pid}/fd").iterdir():
            try:
                if int(entry.name) not in sockets:
                    found.append(str(entry.readlink()))
            except OSError:
                continue
        return found

    def below(self) -> list[str]:
        """Processes that the worker has started."""
        return [f"{p.pid} {p.name()}" for p in self.worker.children(recursive=True)]


@asynccontextmanager
async def planted(url: str, folder: Path, sandbox: str) -> AsyncIterator[Plant]:
    async with AsyncExitStack() as stack:
        redis = connect(url, "test")
        stack.push_async_callback(redis.aclose)
        await redis.flushdb()
        stack.push_async_callback(redis.flushdb)
        stub, pages = Stub(), Pages()
        base_url = await stack.enter_async_context(serving(stub))
        origin = await stack.enter_async_context(served(pages))
        web = stack.enter_context(serving_tools())
        agents = folder / "agents.toml"
        kinds = {
            "plain": f'fetch_allow = ["{origin.removeprefix("http://")}"]',
            "careful": 'approve = ["shell"]',
            "stdio": f"mcp.my.command = {json.dumps(TOOLS)}",
            "web": f'mcp.my.url = "{web}"\nmcp.my.headers = {{ Authorization = "Bearer {ENVIRON["MY_TOKEN"]}" }}',
        }
        agents.write_text(
            "".join(LLM.format(name=name, models=MODELS, more=more) for name, more in kinds.items())
            + OTHERS.format(module=__name__)
        )
        api = await stack.enter_async_context(
            api_running(ApiSettings(redis_url=url, agents_file=agents, default_agent="demo"))
        )
        process, lines = await stack.enter_async_context(
            worker_process(
                redis_url=url,
                agents_file=agents,
                workspaces=folder / "workspaces",
                lease_ttl_s=3,
                llm_base_url=base_url,
                sandbox=sandbox,
            )
        )
        await wait_until(lambda: any("is up" in line for line in lines), 30, f"not up: {lines}")
        port = int(base_url.rpartition(":")[2].partition("/")[0])
        plant = Plant(
            sandbox, api, client_of(redis), psutil.Process(process.pid), lines, stub, pages, origin, folder, port
        )
        first = await api.submit('Use shell {"command": "true"}', session_id="first", agent="plain")
        await plant.client.ended(first)  # what is opened once and kept is open by now
        yield plant
