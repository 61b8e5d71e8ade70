"""Workers that run inside the test's own process, and sessions to give them work."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from runcast_events.entry import Entry
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_events.states import TERMINAL
from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import Queue
from runcast_tasks.record import Records, TaskRecord
from runcast_tasks.submit import NewTask, submit
from runcast_worker.deps import Deps, open_deps
from runcast_worker.engines import Engine
from runcast_worker.engines.registry import open_engines
from runcast_worker.settings import WorkerSettings
from runcast_worker.worker import work
from tests.attempts import TENANT, entries
from tests.conftest import wait_until
from tests.history import check_log, check_tasks

AGENTS = """
[agents.demo]
engine = "demo"
[agents.script]
engine = "script"
[agents.reader]
engine = "demo"
read_only = true
"""

StartWorker = Callable[..., AbstractAsyncContextManager[Deps]]


@pytest.fixture
def agents_file(tmp_path: Path) -> Path:
    path = tmp_path / "agents.toml"
    path.write_text(AGENTS)
    return path


@dataclass
class Client:
    """What a client of the whole could do: submit, and look."""

    redis: Redis
    queue: Queue
    log: EventLog

    async def submit(self, prompt: str = "", session_id: str = "s1", agent: str = "demo", **params: Any) -> str:
        task = NewTask(prompt, agent, session_id, params=params)
        return (await submit(self.log, self.queue, Keyspace(), TENANT, task)).task_id

    async def record(self, task_id: str) -> TaskRecord:
        return await Records(self.redis, Keyspace(), TENANT).task(task_id)

    async def state(self, task_id: str) -> str:
        return (await self.record(task_id)).state

    async def ended(self, *task_ids: str, timeout_s: float = 15) -> list[Entry]:
        """Wait for the ends of tasks of one session; returns its log, checked."""

        async def all_ended() -> bool:
            return all([await self.state(task_id) in TERMINAL for task_id in task_ids])

        await wait_until(all_ended, timeout_s, "a task did not end")
        log = await entries(self.redis, task_ids[0].partition(".")[0])
        check_log(log)
        check_tasks(log)
        return log

    async def wrote(self, event_type: str, session_id: str = "s1", count: int = 1) -> None:
        """Wait until the log has that many events of a type."""

        async def there() -> bool:
            return [e.type for e in await entries(self.redis, session_id)].count(event_type) >= count

        await wait_until(there, message=f"no {event_type}")


def client_of(redis: Redis) -> Client:
    return Client(redis, Queue(redis, QueueKeys()), EventLog(redis))


@pytest.fixture
def client(redis: Redis) -> Client:
    return client_of(redis)


@asynccontextmanager
async def running(settings: WorkerSettings, engines: Mapping[str, Engine]) -> AsyncIterator[Deps]:
    """A worker, until the block ends: then it drains. `engines` replaces its own by name."""
    stop = asyncio.Event()
    async with open_engines(settings) as own, open_deps(settings, {**own, **engines}) as deps:
        working = asyncio.create_task(work(deps, stop))
        try:
            yield deps
        finally:
            stop.set()
            await working


@pytest.fixture
def start_worker(redis: Redis, redis_url: str, agents_file: Path, tmp_path: Path) -> StartWorker:
    """`async with start_worker(lease_ttl_s=1) as deps:`; `engines` replaces engines by name. After `redis`, so that the
    store is emptied before a worker starts and searched for leaks when it has ended."""

    def start(engines: Mapping[str, Engine] | None = None, **settings: Any) -> AbstractAsyncContextManager[Deps]:
        # The poll is slow on purpose: what runs promptly was woken.
        chosen = {
            "redis_url": redis_url,
            "agents_file": agents_file,
            "workspaces": tmp_path / "workspaces",
            "poll_delay_s": 30,
            "reap_every_s": 0.1,
            "drain_s": 0,
            **settings,
        }
        return running(WorkerSettings(**chosen), engines or {})

    return start
