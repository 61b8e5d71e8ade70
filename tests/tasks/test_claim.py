"""claim.py: who gets a task, how long that is believed, and when an attempt stops by itself."""

import asyncio

import pytest
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.errors import Fenced
from runcast_events.events import TaskPaused, TaskRequeued
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_events.redis import connect
from runcast_local.store import Store
from runcast_tasks.claim import Claim, Claims
from runcast_tasks.errors import LeaseLost
from tests.attempts import Attempt, session_keys, submit
from tests.conftest import wait_until
from tests.proxy import running_proxy


def attempt_of(claimed: Claim) -> Attempt:
    return Attempt(claimed.hold, Envelope("s1", claimed.record.id, claimed.record.attempt))


async def test_of_many_workers_one_gets_the_task(redis: Redis) -> None:
    """Claimed once, with the attempt counted and everything the worker needs to run it."""
    task_id = await submit(EventLog(redis))
    workers = [Claims(redis, Keyspace(), f"w{i}", 15) for i in range(8)]
    claims = [claimed for claimed in await asyncio.gather(*(w.claim("default", "s1") for w in workers)) if claimed]
    (claimed,) = claims
    assert (claimed.record.id, claimed.record.attempt, claimed.record.prompt) == (task_id, 1, "hello")
    assert claimed.hold.fence.startswith("1:")
    await redis.flushdb()


async def test_the_head_of_the_session_is_claimed_whoever_rang(redis: Redis) -> None:
    """First come, first served, one at a time; a paused head holds the session."""
    log, claims = EventLog(redis), Claims(redis, Keyspace(), "w", 15)
    first, second = await submit(log), await submit(log)
    paused = Envelope("s1", first).encode(TaskPaused(by="test"))
    await log.append_control(session_keys(), "op", [paused], task_id=first)
    assert await claims.claim("default", "s1") is None
    await redis.hset(session_keys().task(first), "state", "queued")
    claimed = await claims.claim("default", "s1")
    assert claimed is not None
    assert claimed.record.id == first
    assert await claims.claim("default", "s1") is None
    attempt = attempt_of(claimed)
    await attempt.append(log, attempt.started(), attempt.complete())
    claimed = await claims.claim("default", "s1")
    assert claimed is not None
    assert claimed.record.id == second
    await redis.flushdb()


async def test_nothing_is_claimed_where_nothing_waits(redis: Redis) -> None:
    """An unknown session, and one at rest."""
    claims = Claims(redis, Keyspace(), "w", 15)
    assert await claims.claim("default", "nobody") is None


async def test_a_claim_whose_reply_was_lost_is_answered_again(redis: Redis, store: Store) -> None:
    """The retry of the same claim gets the same fence instead of waiting for its own lease."""
    await submit(EventLog(redis))
    number = redis.connection_pool.connection_kwargs["db"]
    async with running_proxy(store.port) as proxy:
        proxied = connect(f"{proxy.url}/{number}", "test")
        await proxied.ping()
        claims = Claims(proxied, Keyspace(), "w", 15)
        assert await claims.claim("default", "nobody") is None  # the store knows the script now
        proxy.lose_reply = lambda _: proxy.lost == 0
        claimed = await claims.claim("default", "s1")
        assert proxy.lost == 1
        assert claimed is not None
        assert claimed.record.attempt == 1
        await proxied.aclose()
    await redis.flushdb()


async def test_a_lease_is_kept_as_long_as_it_is_renewed(redis: Redis) -> None:
    """Over several times its length nobody else gets the task."""
    await submit(EventLog(redis))
    claims = Claims(redis, Keyspace(), "w", 0.6)
    claimed = await claims.claim("default", "s1")
    assert claimed is not None
    keeping = asyncio.create_task(claims.keep(claimed))
    done, _ = await asyncio.wait([keeping], timeout=2)
    assert not done
    assert await redis.pttl(session_keys().lease) > 0
    keeping.cancel()
    await redis.flushdb()


async def test_a_lapsed_lease_is_taken_again_while_the_fence_is_ours(redis: Redis) -> None:
    """An outage longer than the lease costs nothing when nobody else took the task."""
    await submit(EventLog(redis))
    claims = Claims(redis, Keyspace(), "w", 0.9)
    claimed = await claims.claim("default", "s1")
    assert claimed is not None
    await redis.delete(session_keys().lease)
    keeping = asyncio.create_task(claims.keep(claimed))

    async def retaken() -> bool:
        return bool(await redis.exists(session_keys().lease))

    await wait_until(retaken)
    assert not keeping.done()
    keeping.cancel()
    await redis.flushdb()


async def test_a_hold_that_another_took_is_lost(redis: Redis) -> None:
    """The keeper says so, and what the attempt writes is refused."""
    log = EventLog(redis)
    task_id = await submit(log)
    claims = Claims(redis, Keyspace(), "w", 0.9)
    claimed = await claims.claim("default", "s1")
    assert claimed is not None
    attempt = attempt_of(claimed)
    await attempt.append(log, attempt.started())
    requeued = Envelope("s1", task_id).encode(TaskRequeued(reason="crash"))
    await log.append_control(session_keys(), "op", [requeued], task_id=task_id)
    assert await claims.claim("default", "s1") is not None
    with pytest.raises(LeaseLost, match="another"):
        await asyncio.wait_for(claims.keep(claimed), 5)
    with pytest.raises(Fenced):
        await attempt.append(log, attempt.output("late"))
    await redis.flushdb()


async def test_an_attempt_that_cannot_renew_stops_before_its_lease_lapses(redis: Redis, store: Store) -> None:
    """Nobody may believe it gone while it still runs: it gives up at four fifths, on its own clock."""
    await submit(EventLog(redis))
    number = redis.connection_pool.connection_kwargs["db"]
    async with running_proxy(store.port) as proxy:
        proxied = connect(f"{proxy.url}/{number}", "test")
        claims = Claims(proxied, Keyspace(), "w", 1.5)
        claimed = await claims.claim("default", "s1")
        assert claimed is not None
        proxy.silent = True
        with pytest.raises(LeaseLost, match="in time"):
            await asyncio.wait_for(claims.keep(claimed), 5)
        assert await redis.exists(session_keys().lease)
        await proxied.aclose()
    await redis.flushdb()


async def test_a_store_that_is_away_is_asked_again_and_again(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """It may come back for moments only, and each of them saves the attempt: also where only the first try comes when
    its interval is over."""
    await submit(EventLog(redis))
    nowhere = connect("redis://127.0.0.1:1/0", "test", retries=0)
    claims = Claims(redis, Keyspace(), "w", 3, renewals=nowhere)
    claimed = await claims.claim("default", "s1")
    assert claimed is not None
    with pytest.raises(LeaseLost, match="in time"):
        await asyncio.wait_for(claims.keep(claimed), 10)
    assert caplog.text.count("lease not renewed") >= 6
    await nowhere.aclose()
    await redis.flushdb()


async def test_a_connection_that_hangs_costs_one_try_and_not_the_lease(redis: Redis, store: Store) -> None:
    """The renewal is asked again over another one while there is time."""
    await submit(EventLog(redis))
    number = redis.connection_pool.connection_kwargs["db"]
    async with running_proxy(store.port) as proxy:
        proxied = connect(f"{proxy.url}/{number}", "test")
        claims = Claims(proxied, Keyspace(), "w", 2.4)
        claimed = await claims.claim("default", "s1")
        assert claimed is not None
        keeping = asyncio.create_task(claims.keep(claimed))
        for _ in range(2):
            proxy.mute()
            answered = proxy.replies

            async def renewed(answered: int = answered) -> bool:
                return proxy.replies > answered

            await wait_until(renewed)
        assert not keeping.done()
        keeping.cancel()
        await proxied.aclose()
    await redis.flushdb()
