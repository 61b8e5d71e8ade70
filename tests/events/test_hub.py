"""hub.py and channel.py without a gateway: what followers are given, whatever happens around the hub."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from runcast_events.channel import Channel
from runcast_events.entry import Entry, Publication, RawEntry
from runcast_events.errors import BrokenLog
from runcast_events.hub import Hub
from runcast_events.ids import EventId
from runcast_events.keys import SessionKeys
from runcast_events.log import EventLog
from runcast_events.reader import LogReader, Tail
from tests.attempts import claim, entries, session_keys, submit
from tests.conftest import wait_until

LOST = "EXISTS"


class Watcher:
    """A follower that keeps what it is given. `channel` is None until the log's tail was read."""

    def __init__(self) -> None:
        self.entries: list[RawEntry] = []
        self.breaks = 0
        self.channel: Channel | None = None

    async def follow(self, hub: Hub, keys: SessionKeys) -> None:
        channel = hub.watch(keys)
        channel.followers[self] = self
        await asyncio.wait_for(channel.started(), 10)
        self.channel = channel

    def deliver(self, entries: list[RawEntry], at_ms: int) -> None:
        self.entries += entries

    def break_off(self, to: EventId) -> None:
        self.breaks += 1


@asynccontextmanager
async def running_hub(
    redis: Redis, url: str, reader: LogReader | None = None, sweep_s: float = 600
) -> AsyncIterator[Hub]:
    async with Hub(reader or LogReader(redis), url, "test-hub", sweep_s=sweep_s) as hub:
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
        await watcher.follow(hub, session_keys())
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
        await asyncio.gather(*(w.follow(hub, session_keys(f"s{index}")) for index, w in enumerate(watchers)))
        for watcher in watchers[3:]:
            assert watcher.channel is not None
            hub.unwatch(watcher.channel)
        for index in range(3):
            await submit(log, f"s{index}")
        await wait_until(
            lambda: all(w.channel is not None and w.channel.cursor.n == 3 for w in watchers[:3]), timeout_s=4
        )
    await redis.flushdb()


@pytest.mark.parametrize("broken", ["meta", "counters", "entry", "log"])
async def test_a_broken_log_holds_up_no_other(redis: Redis, redis_url: str, broken: str) -> None:
    """Whoever writes into the store by hand harms that one log."""
    log = EventLog(redis, publish=LOST)
    await submit(log, "good")
    await submit(log, "bad")
    async with running_hub(redis, redis_url, sweep_s=0.5) as hub:
        watchers = {name: Watcher() for name in ("good", "bad")}
        await asyncio.gather(*(watcher.follow(hub, session_keys(name)) for name, watcher in watchers.items()))
        keys = session_keys("bad")
        if broken == "meta":
            await redis.set(keys.meta, "nonsense")
        elif broken == "counters":
            await redis.hset(keys.meta, mapping={"epoch": "x", "n": "y"})
        elif broken == "log":
            await redis.set(keys.events, "nonsense")
            await redis.hincrby(keys.meta, "n", 1)
        else:
            await redis.execute_command("XADD", keys.events, "9999999999999-1", "x", "y")
            await redis.hset(keys.meta, mapping={"epoch": "9999999999999", "n": "1"})
        attempt = await claim(redis, "good")
        await attempt.append(log, attempt.started(), attempt.complete())
        await wait_until(
            lambda: [entry.type for entry in watchers["good"].entries][-1:] == [b"task_complete"], timeout_s=5
        )
        assert hub.failed is None
    await redis.flushdb()


async def test_a_log_that_is_none_is_told_to_whoever_waits_for_it(redis: Redis, redis_url: str) -> None:
    """At once, and not by letting it wait."""
    await redis.set(session_keys("bad").meta, "nonsense")
    async with running_hub(redis, redis_url) as hub:
        with pytest.raises(BrokenLog, match="bad"):
            await Watcher().follow(hub, session_keys("bad"))
    await redis.flushdb()


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.sampled_from(["publish", "repair", "lose", "twice", "break"])), max_size=30
    )
)
def test_followers_are_given_every_event_once_or_told_of_a_break(batches: list[tuple[int, str]]) -> None:
    """Whatever comes by publication, by a read, twice or not at all: in order, whole, and the channel's cursor after
    it; what a break leaves out is told before what follows it."""
    channel, watcher = Channel(session_keys()), Watcher()
    channel.followers[watcher] = watcher
    channel.start(Tail(EventId(7, 0), 0, exists=True, deleted=None))
    log: list[Entry] = []
    given_away, breaks = 0, 0
    for size, how in batches:
        start = len(log)
        log += [
            Entry(EventId(7, n), "output", "", 1, 5, n, None, b"%d" % n) for n in range(start + 1, start + size + 1)
        ]
        fresh = log[start:]
        publication = Publication(b"7-%d" % start, fresh[-1].id.encode(), 5, [e.raw for e in fresh], len(log))
        whole = given_away == start
        if how in ("publish", "twice"):
            for _ in range(1 + (how == "twice")):
                channel.publish(publication)
            given_away = len(log) if whole else given_away
        elif how == "repair":
            channel.deliver(log[max(0, given_away - 1) :])
            given_away = len(log)
        elif how == "break" and not whole:  # what lies between was trimmed before anybody read it
            breaks += channel.deliver(fresh)
            given_away = len(log)
        assert channel.cursor.n == given_away
    assert watcher.breaks == breaks
    shown = [int(entry.payload) for entry in watcher.entries]
    assert shown == sorted(set(shown))
    if not breaks:
        assert shown == list(range(1, given_away + 1))
