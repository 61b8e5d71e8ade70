"""A client that looks at all sessions while things happen to them, along the gateway's live path."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from runcast_events.entry import RawEntry
from runcast_events.hub import Hub
from runcast_events.ids import START, EventId
from runcast_events.keys import SessionKeys
from runcast_events.reader import LogReader
from runcast_events.states import TERMINAL_EVENTS
from tests.attempts import session_keys
from tests.history import Seen


class Watcher:
    """`events`: how many it was shown in all. `holders`: which worker runs which task, `crashes` how often a task was
    taken from one that was lost, `ended` which tasks have ended: all as far as it was shown."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._members: dict[str, _Member] = {}
        self.events = 0
        self.holders: dict[str, str] = {}
        self.crashes: Counter[str] = Counter()
        self.ended: set[str] = set()

    async def watch(self, sessions: Iterable[str]) -> None:
        """Sessions that have no events yet. Returns when none of theirs can be missed."""
        new = {session_id: _Member(self) for session_id in sessions}
        async with asyncio.timeout(10):
            await asyncio.gather(*(member.follow(self._hub, session_keys(name)) for name, member in new.items()))
        self._members |= new

    @property
    def seen(self) -> dict[str, list[Seen]]:
        return {session_id: member.seen for session_id, member in self._members.items()}

    def show(self, entry: RawEntry) -> None:
        self.events += 1
        event_type, task_id = entry.type.decode(), entry.task_id.decode()
        if event_type == "task_started":
            self.holders[task_id] = json.loads(entry.payload)["worker"]
        elif event_type == "task_requeued":
            self.holders.pop(task_id, None)
            self.crashes[task_id] += json.loads(entry.payload)["reason"] == "crash"
        elif event_type in TERMINAL_EVENTS:
            self.holders.pop(task_id, None)
            self.ended.add(task_id)


class _Member:
    """One session's."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self.seen: list[Seen] = []

    async def follow(self, hub: Hub, keys: SessionKeys) -> None:
        channel = hub.watch(keys)
        channel.followers[self] = self
        await channel.started()
        assert channel.cursor == START, "it has events already"

    def deliver(self, entries: list[RawEntry], at_ms: int) -> None:
        for entry in entries:
            self.seen.append(Seen(EventId.decode(entry.id), entry.payload))
            self._watcher.show(entry)

    def break_off(self, to: EventId) -> None:
        self.seen.append(Seen(to, gap=True))


@asynccontextmanager
async def watching(redis: Redis, url: str) -> AsyncIterator[Watcher]:
    async with Hub(LogReader(redis), url, "test-watcher") as hub:
        yield Watcher(hub)
