"""hub.py and channel.py without a gateway: what members are given, whatever happens around the hub."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from runcast_events.channel import RING_ITEMS, Channel, Item
from runcast_events.hub import Hub
from runcast_events.keys import SessionKeys
from runcast_events.log import EventLog
from runcast_events.reader import LogReader, Tail
from tests.attempts import claim, entries, session_keys, submit
from tests.conftest import wait_until

LOST = "EXISTS"


class Watcher:
    """A member that takes everything as soon as it is woken."""

    def __init__(self) -> None:
        self.position = 0
        self.items: list[Item] = []
        self.channel: Channel | None = None

    def follow(self, hub: Hub, keys: SessionKeys) -> None:
        self.channel = hub.watch(keys, self)

    def wake(self) -> None:
        assert self.channel is not None
        if self in self.channel.members:
            self.items += self.channel.take(self) or []
        elif self.channel.cursor is not None:
            self.channel.join(self)


@asynccontextmanager
async def running_hub(
    redis: Redis, url: str, reader: LogReader | None = None, sweep_s: float = 600
) -> AsyncIterator[Hub]:
    async with Hub(reader or LogReader(redis), url, "test-hub", lambda entry: entry.payload, sweep_s=sweep_s) as hub:
        yield hub


class InterruptedReader(LogReader):
    """Something happens after the tails were read and before the hub learns them."""

    between: Callable[[], Awaitable[None]] | None = None

    async def tails(self, logs: list[SessionKeys]) -> list[Tail | None]:  # type: ignore[override]
        tails = await super().tails(logs)
        if self.between is not None:
            between, self.between = self.between, None
            await between()
        return tails


async def test_what_is_published_while_the_tail_is_read_is_not_forgotten(redis: Redis, redis_url: str) -> None:
    """The tail may be older than the publication: the channel looks again, long before the sweep."""
    log, reader, watcher = EventLog(redis), InterruptedReader(redis), Watcher()
    await submit(log)

    async def meanwhile() -> None:
        await submit(log)
        await asyncio.sleep(0.05)  # the publication travels on a socket of its own

    async with running_hub(redis, redis_url, reader) as hub:
        await wait_until(lambda: hub.subscriber.connected)
        reader.between = meanwhile
        watcher.follow(hub, session_keys())
        last = None

        async def caught_up() -> bool:
            nonlocal last
            last = (await entries(redis))[-1].id
            return watcher.channel is not None and watcher.channel.cursor == last

        await wait_until(caught_up, timeout_s=5)
    await redis.flushdb()


async def test_the_sweep_comes_round_to_every_channel(redis: Redis, redis_url: str) -> None:
    """Also when many others have left: each log is looked at within two rounds."""
    log = EventLog(redis, publish=LOST)
    async with running_hub(redis, redis_url, sweep_s=1) as hub:
        watchers = [Watcher() for _ in range(300)]
        for index, watcher in enumerate(watchers):
            watcher.follow(hub, session_keys(f"s{index}"))
        await wait_until(lambda: all(w.channel is not None and w.channel.cursor is not None for w in watchers))
        for watcher in watchers[3:]:
            assert watcher.channel is not None
            hub.unwatch(watcher.channel, watcher)
        for index in range(3):
            await submit(log, f"s{index}")
        await wait_until(
            lambda: all(w.channel is not None and w.channel.cursor.n == 3 for w in watchers[:3]), timeout_s=4
        )
    await redis.flushdb()


@pytest.mark.parametrize("broken", ["meta", "entry"])
async def test_a_broken_log_holds_up_no_other(redis: Redis, redis_url: str, broken: str) -> None:
    """Whoever writes into the store by hand harms that one log."""
    log = EventLog(redis, publish=LOST)
    await submit(log, "good")
    await submit(log, "bad")
    async with running_hub(redis, redis_url, sweep_s=0.5) as hub:
        watchers = {name: Watcher() for name in ("good", "bad")}
        for name, watcher in watchers.items():
            watcher.follow(hub, session_keys(name))
        await wait_until(lambda: all(w.channel is not None and w.channel.cursor is not None for w in watchers.values()))
        keys = session_keys("bad")
        if broken == "meta":
            await redis.set(keys.meta, "nonsense")
        else:
            await redis.execute_command("XADD", keys.events, "9999999999999-1", "x", "y")
            await redis.hset(keys.meta, mapping={"epoch": "9999999999999", "n": "1"})
        attempt = await claim(redis, "good")
        await attempt.append(log, attempt.started(), attempt.complete())
        await wait_until(lambda: [i.type for i in watchers["good"].items][-1:] == ["task_complete"], timeout_s=5)
        assert hub.failed is None
    await redis.flushdb()


async def test_a_member_that_falls_behind_the_ring_is_told_to_read_for_itself(redis: Redis, redis_url: str) -> None:
    """The ring is bounded; nobody else's reading is held up by it."""
    log = EventLog(redis)
    await submit(log)
    async with running_hub(redis, redis_url) as hub:
        watcher = Watcher()
        watcher.follow(hub, session_keys())
        await wait_until(lambda: watcher.channel is not None and watcher.channel.cursor is not None)
        channel = watcher.channel
        assert channel is not None

        class Sleeper(Watcher):
            def wake(self) -> None:
                pass

        sleeper = Sleeper()
        channel.join(sleeper)
        attempt = await claim(redis)
        await attempt.append(log, attempt.started())
        for _ in range(RING_ITEMS // 200 + 2):
            await attempt.append(log, *(attempt.output("x") for _ in range(200)))
        await attempt.append(log, attempt.complete())
        await wait_until(lambda: [item.type for item in watcher.items][-1:] == ["task_complete"])
        assert channel.take(sleeper) is None
        assert sleeper not in channel.members
