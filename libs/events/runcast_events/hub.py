"""The live path of a process: publications that follow are delivered as they are, everything else is repaired.

Correctness rests on the repair alone: it reads the tails of the channels that may have changed, and what they miss, in
bounded replies. Publications only make it seldom. After a (re)subscription a channel counts as changed, and a sweep
looks at every log within SWEEP_S, so that even a lost last publication is found.
"""

import asyncio
import logging
from dataclasses import dataclass
from itertools import islice

from redis.exceptions import RedisError, ResponseError

from runcast_events.channel import Channel
from runcast_events.entry import UndecodableEntry, decode_publication
from runcast_events.errors import BrokenLog
from runcast_events.ids import EventId
from runcast_events.keys import SessionKeys
from runcast_events.reader import LARGE_PAGE, PAGE, PAGE_BYTES, LogReader
from runcast_events.redis import passes
from runcast_events.subscriber import Subscriber

logger = logging.getLogger(__name__)

SWEEP_S = 7.0
"""A channel that came just after a round began is looked at in the next: 15 s at the most."""
SLICES = 30
LOGS_PER_COMMAND = 200


@dataclass(slots=True)
class HubStats:
    """Counted since the process started."""

    followed: int = 0
    """Publications delivered as they were."""
    changed: int = 0
    """Publications that did not follow, or carried no events: repaired."""
    repairs: int = 0
    repaired: int = 0
    """Events that a repair read brought."""
    gaps: int = 0


class Hub:
    """Use as an async context manager."""

    def __init__(self, reader: LogReader, url: str, name: str, *, sweep_s: float = SWEEP_S) -> None:
        self._reader, self._sweep_s = reader, sweep_s
        self._channels: dict[bytes, Channel] = {}
        self._dirty: dict[Channel, None] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.subscriber = Subscriber(url, name, self._on_message, self._on_subscribed)
        self.stats = HubStats()

    async def __aenter__(self) -> "Hub":
        for loop in (self.subscriber.run, self._repair_loop, self._sweep_loop):
            self._tasks.append(asyncio.create_task(loop(), name=f"hub {loop.__name__}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def channels(self) -> int:
        return len(self._channels)

    @property
    def failed(self) -> str | None:
        """Why the hub no longer works, if so: one of its loops ended, which only a bug can cause."""
        for task in self._tasks:
            if task.done():
                return f"{task.get_name()} ended: {task.exception() if not task.cancelled() else 'cancelled'}"
        return None

    def watch(self, keys: SessionKeys) -> Channel:
        """The log's channel, kept until `unwatch` was called as often. It may still have to get its cursor."""
        name = keys.events.encode()
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = Channel(keys)
            self.subscriber.subscribe(name)
        channel.users += 1
        return channel

    def unwatch(self, channel: Channel) -> None:
        channel.users -= 1
        if channel.users == 0:
            name = channel.keys.events.encode()
            del self._channels[name]
            self._dirty.pop(channel, None)
            self.subscriber.unsubscribe(name)

    def changed(self, channel: Channel) -> None:
        """The channel may be behind, or ahead of a log that lost its tail: look."""
        self._dirty[channel] = None
        self._wake.set()

    def _on_message(self, name: bytes, data: bytes) -> None:
        channel = self._channels.get(name)
        if channel is None:
            return  # left meanwhile
        if not channel.raw_cursor:
            self.changed(channel)  # its tail is being read, maybe before these events
            return
        try:
            publication = decode_publication(data)
        except UndecodableEntry:
            logger.warning("a publication that the append script did not write", extra={"channel": channel.keys.events})
        else:
            if channel.publish(publication):
                self.stats.followed += 1
                return
        self.stats.changed += 1
        self.changed(channel)

    def _on_subscribed(self, name: bytes) -> None:
        if channel := self._channels.get(name):
            self.changed(channel)

    async def _repair_loop(self) -> None:
        pause_s = 0.05
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._dirty:
                some = list(islice(self._dirty, LOGS_PER_COMMAND))
                for channel in some:
                    del self._dirty[channel]
                try:
                    await self._repair(some)
                    pause_s = 0.05
                except (RedisError, OSError) as error:
                    logger.warning("repair waits for the store: %s", str(error) or type(error).__name__)
                    self._dirty.update(dict.fromkeys(c for c in some if c.users))
                    await asyncio.sleep(pause_s)
                    pause_s = min(pause_s * 2, 1.0)
                except Exception:
                    logger.exception("a repair failed; the sweep comes round to these logs again")
                    await asyncio.sleep(pause_s)

    async def _repair(self, channels: list[Channel]) -> None:
        self.stats.repairs += 1
        before = [channel.cursor if channel.raw_cursor else None for channel in channels]
        tails = await self._reader.tails([channel.keys for channel in channels])
        behind: list[tuple[Channel, int]] = []
        for channel, cursor, tail in zip(channels, before, tails, strict=True):
            if tail is None:
                channel.fail(BrokenLog(channel.keys.events))
            elif cursor is None:
                channel.start(tail)
            elif tail.id < cursor:
                self._break_off(channel, cursor, tail.id)
            elif tail.id > channel.cursor:
                behind.append((channel, max(0, tail.total_bytes - channel.total_bytes)))
        while behind:
            await self._catch_up(*_fitting(behind))

    def _break_off(self, channel: Channel, cursor: EventId, to: EventId) -> None:
        """The tail is below what once was in the log: the store lost that, or the channel has moved since."""
        if channel.cursor == cursor:
            channel.break_off(to)
            self.stats.gaps += 1
        self.changed(channel)

    async def _catch_up(self, group: list[Channel], count: int) -> None:
        cursors = [(channel.keys, channel.cursor) for channel in group]
        try:
            missed = await self._reader.missed(cursors, count)
        except ResponseError as error:
            if passes(error):
                raise
            missed = {}
            for one in cursors:  # the store refuses them all for one that is no log
                try:
                    missed |= await self._reader.missed([one], count)
                except ResponseError as refusal:
                    logger.error("a log cannot be read: %s", refusal, extra={"log": one[0].events})
        for channel in group:
            entries = missed.get(channel.keys.events, [])
            self.stats.repaired += len(entries)
            self.stats.gaps += channel.deliver(entries)
            if len(entries) == count:
                self.changed(channel)

    async def _sweep_loop(self) -> None:
        """Mark all channels as changed, slice by slice, a full round in `sweep_s`."""
        while True:
            order = list(self._channels.values())
            for start in range(SLICES):
                await asyncio.sleep(self._sweep_s / SLICES)
                for channel in order[start::SLICES]:
                    if channel.users:
                        self.changed(channel)


def _fitting(behind: list[tuple[Channel, int]]) -> tuple[list[Channel], int]:
    """Take from `behind` the next channels whose missing bytes fit one reply, and how many entries of each to ask for.
    A channel that misses more than a reply comes alone, and is asked for as many as fit even if all are large."""
    group: list[Channel] = []
    size = 0
    while behind and (not group or size + behind[-1][1] <= PAGE_BYTES):
        channel, missing = behind.pop()
        group.append(channel)
        size += missing
    return group, PAGE if size <= PAGE_BYTES else LARGE_PAGE
