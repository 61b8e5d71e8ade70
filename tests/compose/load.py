"""Load on a running stack through its front door, and what must hold of it afterwards, whatever happened meanwhile."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic

import httpx2
from redis.asyncio import Redis

from runcast_events.entry import Entry
from runcast_events.redis import connect
from runcast_events.states import TERMINAL_EVENTS
from tests.attempts import entries
from tests.conftest import wait_until
from tests.gateway.running import Client as Reader
from tests.history import check_client, check_log, check_tasks, check_terminals

SESSIONS = 8
RATE = 25.0
"""Events a second of a session."""
EVENTS = 50
"""Of a task."""
PATIENCE_S = 90.0


@dataclass
class Load:
    """Sessions that always have a task to run, and a reader each, from the first event on. `accepted`: tasks that the
    api has answered 202 for; `refused`: how often it, or nobody, answered otherwise. `shown`: when a reader was shown
    something, by session."""

    url: str
    events: int
    readers: dict[str, Reader]
    accepted: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    shown: dict[str, list[float]] = field(default_factory=dict)
    connections: int = 0
    _stopping: bool = False

    async def session(self, http: httpx2.AsyncClient, session_id: str) -> None:
        """One task after the other, the next when a reader was shown the end of the last."""
        reader = self.readers[session_id]
        while not self._stopping:
            task_id = await self._submit(http, session_id)
            if task_id is not None:
                self.accepted.append(task_id)
                await _until_ended(reader, task_id)

    async def _submit(self, http: httpx2.AsyncClient, session_id: str) -> str | None:
        """None: refused, or nobody knows. A task that was accepted without our learning of it must end like all."""
        body = {"task": "talk", "agent": "script", "session_id": session_id}
        try:
            answer = await http.post("/api/tasks", json={**body, "params": {"count": self.events, "rate": RATE}})
        except httpx2.TransportError as error:
            self.refused[type(error).__name__] += 1
        else:
            if answer.status_code == 202:
                task_id: str = answer.json()["task_id"]
                return task_id
            assert answer.status_code in (502, 503), f"{answer.status_code} {answer.text}"
            self.refused[f"{answer.status_code} {answer.json()['code']}"] += 1
        await asyncio.sleep(0.2)
        return None

    async def read(self, session_id: str) -> None:
        """For ever, over as many connections as it takes."""
        reader = self.readers[session_id]
        while True:
            self.connections += 1
            with contextlib.suppress(httpx2.HTTPError, OSError):
                await reader.read(timeout_s=600)
            await asyncio.sleep(0.1)

    async def watch(self) -> None:
        """Note when events come, to a hundredth of a second."""
        known = dict.fromkeys(self.readers, 0)
        while True:
            for session_id, reader in self.readers.items():
                if len(reader.seen) != known[session_id]:
                    known[session_id] = len(reader.seen)
                    self.shown.setdefault(session_id, []).append(monotonic())
            await asyncio.sleep(0.01)

    async def flows(self) -> None:
        """Until every session was shown some more events."""
        counts = {session_id: len(reader.seen) for session_id, reader in self.readers.items()}

        def grown() -> bool:
            return all(len(reader.seen) > counts[session_id] + 5 for session_id, reader in self.readers.items())

        await wait_until(grown, PATIENCE_S, "events do not come")

    async def finish(self) -> None:
        """No more tasks; wait until all have ended and every reader was shown that."""
        self._stopping = True
        for session_id, reader in self.readers.items():
            mine = {task for task in self.accepted if task.startswith(f"{session_id}.")}

            def all_shown(reader: Reader = reader, mine: set[str] = mine) -> bool:
                return mine <= ended(reader)

            await wait_until(all_shown, PATIENCE_S, f"{session_id}: not all of {mine} ended for its reader")

    async def check(self, store_url: str) -> dict[str, list[Entry]]:
        """Guarantees 1 to 4, and that nobody was told of a gap: the store kept everything. The logs by session."""
        redis = connect(store_url, "test")
        try:
            return {session_id: await self._check(redis, session_id) for session_id in self.readers}
        finally:
            await redis.aclose()

    async def _check(self, redis: Redis, session_id: str) -> list[Entry]:
        async def at_rest() -> bool:
            last = (await entries(redis, session_id))[-1:]
            # A task that nobody knows to be accepted may still run.
            return bool(last) and last[0].type in TERMINAL_EVENTS and seen[-1].id == last[0].id

        seen = self.readers[session_id].seen
        await wait_until(at_rest, PATIENCE_S, f"{session_id} has not come to rest, or its reader is not shown the end")
        log = await entries(redis, session_id)
        check_log(log)
        check_tasks(log)
        check_terminals(log, [task for task in self.accepted if task.startswith(f"{session_id}.")])
        assert not [item for item in seen if item.gap], f"{session_id}: a gap where nothing was lost"
        check_client(seen, log)
        failed = [entry.payload for entry in log if entry.type == "task_failed"]
        assert not failed, f"{session_id}: tasks failed: {failed}"
        return log

    def longest_silence(self, since: float) -> float:
        """Seconds in which a session's reader was shown nothing, after that moment: the worst of all."""
        moments = ([since, *(at for at in each if at >= since)] for each in self.shown.values())
        return max(later - earlier for each in moments for earlier, later in pairwise(each))


def ended(reader: Reader) -> set[str]:
    """Tasks that its reader was shown the end of."""
    return {str(data["task_id"]) for name, _, data in reader.blocks if name in TERMINAL_EVENTS}


async def _until_ended(reader: Reader, task_id: str) -> None:
    await wait_until(lambda: task_id in ended(reader), PATIENCE_S, f"{task_id} did not end for its reader")


@asynccontextmanager
async def running_load(url: str, prefix: str, events: int = EVENTS) -> AsyncIterator[Load]:
    """Use as `async with`; sessions are named `prefix` and a number."""
    names = [f"{prefix}-{number}" for number in range(SESSIONS)]
    load = Load(url, events, {name: Reader(url, f"/stream/sessions/{name}") for name in names})
    async with httpx2.AsyncClient(base_url=url, timeout=10, trust_env=False) as http, asyncio.TaskGroup() as group:
        own = [group.create_task(load.read(name)) for name in names]
        own.append(group.create_task(load.watch()))
        own += [group.create_task(load.session(http, name)) for name in names]
        try:
            yield load
        finally:
            for task in own:
                task.cancel()
