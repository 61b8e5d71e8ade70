"""A client that looks at all sessions while things happen to them, along the gateway's live path."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from runcast_events.channel import Channel, Item
from runcast_events.hub import Hub
from runcast_events.ids import START
from runcast_events.keys import SessionKeys
from runcast_events.reader import LogReader
from runcast_events.states import TERMINAL_EVENTS
from tests.attempts import session_keys
from tests.conftest import wait_until
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
        for session_id, member in new.items():
            member.follow(self._hub, session_keys(session_id))
        await wait_until(lambda: all(member.live for member in new.values()), message="the hub does not follow")
        self._members |= new

    @property
    def seen(self) -> dict[str, list[Seen]]:
        return {session_id: member.seen for session_id, member in self._members.items()}

    def show(self, item: Item) -> None:
        self.events += 1
        if item.type == "task_started":
            self.holders[item.task_id] = json.loads(item.frame)["worker"]
        elif item.type == "task_requeued":
            self.holders.pop(item.task_id, None)
            self.crashes[item.task_id] += json.loads(item.frame)["reason"] == "crash"
        elif item.type in TERMINAL_EVENTS:
            self.holders.pop(item.task_id, None)
            self.ended.add(item.task_id)


class _Member:
    """One session's."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._channel: Channel | None = None
        self.position = 0
        self.seen: list[Seen] = []

    @property
    def live(self) -> bool:
        return self._channel is not None and self in self._channel.members

    def follow(self, hub: Hub, keys: SessionKeys) -> None:
        self._channel = hub.watch(keys, self)

    def wake(self) -> None:
        assert self._channel is not None
        if not self.live:
            assert self._channel.cursor == START, "it has events already"
            self._channel.join(self)
        for item in self._channel.take(self) or ():
            self.seen.append(Seen(item.id, item.frame, gap=item.breaks))
            self._watcher.show(item)


@asynccontextmanager
async def watching(redis: Redis, url: str) -> AsyncIterator[Watcher]:
    async with Hub(LogReader(redis), url, "test-watcher", lambda entry: entry.payload) as hub:
        yield Watcher(hub)
