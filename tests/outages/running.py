"""The whole over stores that fail: an api, workers, a gateway, a reader of every session, and the checks at the end."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import httpx2
from redis.asyncio import Redis

from runcast_api.settings import ApiSettings
from runcast_events.entry import Entry
from runcast_events.ids import START
from runcast_events.keys import Keyspace
from runcast_events.redis import connect
from runcast_events.states import TERMINAL
from runcast_tasks.errors import NotFound
from runcast_tasks.record import Records, TaskRecord
from runcast_worker.deps import Deps
from runcast_worker.settings import WorkerSettings
from tests.api.running import Api, problem
from tests.api.running import running as running_api
from tests.attempts import TENANT, entries
from tests.conftest import wait_until
from tests.gateway.running import Client as Reader
from tests.gateway.running import running_gateway
from tests.history import check_client, check_log, check_tasks, check_terminals
from tests.worker.conftest import AGENTS
from tests.worker.conftest import running as running_worker


@dataclass
class Whole:
    """`redis`: a client of the events store. `accepted`: tasks that the api has accepted. `readers`: by session, from
    its first event on, whatever becomes of their connections."""

    redis: Redis
    api: Api
    base: str
    settings: WorkerSettings
    accepted: list[str] = field(default_factory=list)
    readers: dict[str, Reader] = field(default_factory=dict)
    _reading: list[asyncio.Task[None]] = field(default_factory=list)

    async def submit(self, session_id: str, task: str = "go", **fields: object) -> str:
        """Accepted, now or when the store is back; somebody reads the session."""
        body = {"task": task, "session_id": session_id, **fields}
        answer = await self.api.client.post("/api/tasks", json=body)
        until = monotonic() + 30
        while answer.status_code != 202:
            problem(answer, 503, "store_unavailable")
            assert monotonic() < until, "refused for 30 s"
            answer = await self.api.client.post("/api/tasks", json=body)
        task_id: str = answer.json()["task_id"]
        self.accepted.append(task_id)
        if session_id not in self.readers:
            self.readers[session_id] = Reader(self.base, f"/stream/sessions/{session_id}")
            self._reading.append(asyncio.create_task(_read(self.readers[session_id])))
        return task_id

    def worker(self) -> AbstractAsyncContextManager[Deps]:
        """One more, until the block ends: then it drains."""
        return running_worker(self.settings, {})

    async def outputs(self, session_id: str, count: int, rate: float) -> str:
        """A task that writes so many events, so many a second."""
        return await self.submit(session_id, agent="script", params={"count": count, "rate": rate})

    async def wrote(self, session_id: str, event_type: str, count: int = 1, timeout_s: float = 30) -> None:
        """Wait until the reader of the session was shown so many events of a type."""
        shown = self.readers[session_id].blocks

        def often_enough() -> bool:
            return [name for name, _, _ in shown].count(event_type) >= count

        await wait_until(often_enough, timeout_s, f"the reader of {session_id} was not shown {count} {event_type}")

    async def record(self, task_id: str) -> TaskRecord | None:
        """None: the store does not know it."""
        try:
            return await Records(self.redis, Keyspace(), TENANT).task(task_id)
        except NotFound:
            return None

    async def all_ended(
        self, timeout_s: float = 60, lost: Sequence[str] = (), cut_off: Sequence[str] = ()
    ) -> dict[str, list[Entry]]:
        """Wait until every accepted task has ended and every reader was shown that, and check guarantees 1 to 4; no
        attempt may have been counted as a crash. Returns the logs by session. `lost`: tasks that the store was robbed
        of whole; `cut_off`: those of which it was then told again by who ran them."""
        accepted = [task_id for task_id in self.accepted if task_id not in lost]

        async def ended() -> bool:
            records = [await self.record(task_id) for task_id in accepted]
            return all(record is not None and record.state in TERMINAL for record in records)

        await wait_until(ended, timeout_s, "a task did not end")
        records = [await self.record(task_id) for task_id in accepted]
        assert {record.crashes for record in records if record} == {0}, "an attempt was counted as a crash"
        logs = {session_id: await entries(self.redis, session_id) for session_id in self.readers}
        for session_id, log in logs.items():
            check_log(log)
            begun = "running" if log and log[0].type == "log_lost" else "queued"
            check_tasks(log, cut_off={each: begun for each in cut_off if each.startswith(f"{session_id}.")})
            check_terminals(log, [task_id for task_id in accepted if task_id.startswith(f"{session_id}.")])
            await self.shown(session_id, log)
            check_client(self.readers[session_id].seen, log, rolled_back=True)
        return logs

    async def shown(self, session_id: str, log: Sequence[Entry]) -> None:
        """Wait until the session's reader stands at the end of this log."""
        seen, end = self.readers[session_id].seen, log[-1].id if log else START
        await wait_until(
            lambda: bool(seen) and seen[-1].id == end, 30, f"a reader of {session_id} does not stand at {end}"
        )

    @property
    def gaps(self) -> list[object]:
        """Why, for each gap that a reader was told of."""
        return [gap["reason"] for reader in self.readers.values() for gap in reader.data("gap")]


def reasons(log: Sequence[Entry], event_type: str = "task_requeued") -> list[str]:
    return [json.loads(entry.payload)["reason"] for entry in log if entry.type == event_type]


async def _read(reader: Reader) -> None:
    while True:
        with contextlib.suppress(httpx2.HTTPError, OSError):
            await reader.read(timeout_s=300)
        await asyncio.sleep(0.05)


@asynccontextmanager
async def running(
    events_url: str,
    folder: Path,
    queue_url: str | None = None,
    workers: int = 2,
    replica_acks: int = 0,
    **settings: object,
) -> AsyncIterator[Whole]:
    """All of it in this process, over one store or two. `settings`: of the workers."""
    agents = folder / "agents.toml"
    agents.write_text(AGENTS)
    stores = {"redis_url": queue_url or events_url, "events_redis_url": events_url, "agents_file": agents}
    stores |= {"replica_acks": replica_acks}
    chosen = {"workspaces": folder / "workspaces", "lease_ttl_s": 3, "drain_s": 0, "reap_every_s": 0.2, **settings}
    async with AsyncExitStack() as stack:
        redis = connect(events_url, "test")
        stack.push_async_callback(redis.aclose)
        api = await stack.enter_async_context(running_api(ApiSettings.model_validate(stores)))
        gateway = await stack.enter_async_context(running_gateway(events_url))
        whole = Whole(redis, api, gateway.base, WorkerSettings.model_validate({**chosen, **stores}))
        for _ in range(workers):
            await stack.enter_async_context(whole.worker())
        try:
            yield whole
        finally:
            for reading in whole._reading:
                reading.cancel()
            await asyncio.gather(*whole._reading, return_exceptions=True)
