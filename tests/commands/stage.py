"""The whole in one event loop: api, two workers, a model's stub, a server of pages. Of a session that is held an
attempt's events go into the log one by one, as the test lets them: so it can stop a task at any event it likes."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from redis.asyncio import Redis

import runcast_worker.attempt.attempt
from runcast_api.settings import ApiSettings
from runcast_events.redis import connect
from runcast_local.model import Answer, Asked, Call, Stub, Turn, says, serving
from runcast_local.model.asked import text_of
from runcast_worker.deps import open_deps
from runcast_worker.engines.registry import open_engines
from runcast_worker.python import NextIteration, Say, Step, Task, ToolFailed
from runcast_worker.settings import WorkerSettings
from runcast_worker.worker import work
from tests.api.running import Api
from tests.api.running import running as api_running
from tests.commands.paces import PacedLog, Paces, paced_publisher
from tests.commands.pages import Pages
from tests.conftest import leaks
from tests.local.upstream import served

WORKERS = 2
LEASE_S = 2.0
AGENTS = """
[agents.llm]
engine = "llm"
model = "planned"
tools = ["todos", "fetch"]
fetch_allow = ["{host}"]

[agents.careful]
engine = "llm"
model = "planned"
tools = ["todos", "fetch"]
fetch_allow = ["{host}"]
approve = ["fetch"]

[agents.steps]
engine = "python"
entry = "{module}:steps"
tools = ["todos", "fetch"]
fetch_allow = ["{host}"]
approve = ["fetch"]
"""
WITH_MODEL = ("llm", "careful")
Plan = Sequence[Sequence[str]]
"""For each turn its calls: `todo`; `get`, a page that is there; `hold`, a page that comes when the test lets it."""


class _Worker:
    """A worker in a task of its own."""

    def __init__(self, settings: WorkerSettings, paces: Paces) -> None:
        self._begun, self._over = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._work(settings, paces))

    async def _work(self, settings: WorkerSettings, paces: Paces) -> None:
        async with open_engines(settings) as engines, open_deps(settings, engines) as deps:
            self._begun.set()
            await work(replace(deps, log=PacedLog(deps.events, paces)), self._over)

    async def started(self) -> None:
        """Raises what it failed of."""
        begun = asyncio.create_task(self._begun.wait())
        await asyncio.wait({begun, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if begun.cancel():
            await self._task

    async def stop(self) -> None:
        self._over.set()
        await self._task


class Stage:
    """Use by `opened`. Tasks are known by marks in their prompts, so that what is asked and got is told apart. `seen`:
    how often which command was answered how, and how often which event was in a log."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        self.paces, self.pages, self.stub = Paces(), Pages(), Stub()
        self.stub.scripts["planned"] = self._answer
        self.origin = ""
        self._names = 0
        self.seen: Counter[str] = Counter()
        self._workers: list[_Worker] = []
        self._settings: WorkerSettings
        self.api: Api
        self.redis: Redis

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["Stage"]:
        async with AsyncExitStack() as stack:
            stack.enter_context(patch.object(runcast_worker.attempt.attempt, "Publisher", paced_publisher))
            self.redis = connect(self.url, "test")
            stack.push_async_callback(self.redis.aclose)
            await self.redis.flushdb()
            stack.push_async_callback(self.redis.flushdb)
            self.origin = await stack.enter_async_context(served(self.pages))
            base_url = await stack.enter_async_context(serving(self.stub))
            agents_file = self.folder / "agents.toml"
            host = self.origin.removeprefix("http://")
            agents_file.write_text(AGENTS.format(host=host, module=__name__))
            self.api = await stack.enter_async_context(
                api_running(ApiSettings(redis_url=self.url, agents_file=agents_file, default_agent="llm"))
            )
            settings = WorkerSettings(
                redis_url=self.url,
                agents_file=agents_file,
                workspaces=self.folder / "workspaces",
                lease_ttl_s=LEASE_S,
                reap_every_s=0.1,
                drain_s=0,
                llm_base_url=base_url,
                llm_retries=0,
                max_jobs=50,
            )
            self._settings = settings
            stack.push_async_callback(self._stop)
            for _ in range(WORKERS):
                await self._start()
            yield self

    async def deploy(self) -> None:
        """Replace the worker that is the oldest: it drains first."""
        await self._workers[0].stop()
        del self._workers[0]
        await self._start()

    async def _start(self) -> None:
        worker = _Worker(self._settings, self.paces)
        self._workers.append(worker)
        await worker.started()

    async def _stop(self) -> None:
        for worker in self._workers:
            await worker.stop()

    def name(self, letter: str) -> str:
        """A new one."""
        self._names += 1
        return f"{letter}{self._names}"

    def forget(self) -> None:
        """What was asked and got so far."""
        self.stub.asked.clear()
        self.pages.got.clear()

    async def clean(self) -> bool:
        """Nothing is left, of queues neither, that would never expire."""
        return not await leaks(self.redis)

    def prompt(self, mark: str, plan: Plan) -> str:
        return f"{mark} {json.dumps(plan)}"

    def target(self, mark: str, kind: str, turn: int, index: int) -> str:
        return f"/{mark}/{turn}.{index}{'?hold' if kind == 'hold' else ''}"

    def asked_by(self, mark: str) -> list[Asked]:
        """The requests of one task, oldest first."""
        return [asked for asked in self.stub.asked if _own(asked)[0] == mark]

    def _answer(self, asked: Asked) -> Answer:
        """As the prompt's plan says; when its turns are over, in words."""
        mark, plan, own = _own(asked)
        turn = sum(message["role"] == "assistant" for message in own)
        if turn >= len(plan):
            return Turn(says(f"done {mark} {turn}"))
        calls = [self._call(mark, kind, turn, index) for index, kind in enumerate(plan[turn])]
        return Turn([*says(f"turn {turn}"), *calls])

    def _call(self, mark: str, kind: str, turn: int, index: int) -> Call:
        if kind == "todo":
            return Call("todos", {"todos": [{"text": f"{mark} {turn}.{index}", "done": False}]})
        return Call("fetch", {"url": self.origin + self.target(mark, kind, turn, index)})


def _own(asked: Asked) -> tuple[str, Plan, list[dict[str, Any]]]:
    """The mark and the plan of the task that asks, and what was said in it since its prompt."""
    messages = asked.messages
    for at in range(len(messages) - 1, -1, -1):
        mark, _, plan = text_of(messages[at]).partition(" ")
        if messages[at]["role"] == "user" and mark.startswith("T"):
            return mark, json.loads(plan), messages[at + 1 :]
    raise AssertionError("no prompt of ours")


async def steps(task: Task) -> AsyncIterator[Step]:
    """A python agent that does what the plan says, a checkpoint after each turn."""
    mark, _, plan = task.prompt.partition(" ")
    turns, origin = json.loads(plan), str(task.params["origin"])
    for turn in range(task.checkpoint or 0, len(turns)):
        yield Say(f"turn {turn}")
        for index, kind in enumerate(turns[turn]):
            if kind == "todo":
                await task.call("todos", todos=[{"text": f"{mark} {turn}.{index}"}])
            else:
                with suppress(ToolFailed):  # somebody may not allow it
                    await task.call("fetch", url=f"{origin}/{mark}/{turn}.{index}{'?hold' if kind == 'hold' else ''}")
        yield NextIteration(checkpoint=turn + 1)
    yield Say(f"done {mark}")
