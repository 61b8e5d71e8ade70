"""The census: what the queue store lost is found again in the events store, once, and only when something was lost."""

import asyncio

import pytest
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.events import SessionDeleted
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog
from runcast_local.store import Store
from runcast_tasks.census import Census, Lapsed
from runcast_tasks.keys import QueueKeys
from runcast_tasks.queue import Queue
from tests.attempts import TENANT, claim, session_keys, submit
from tests.conftest import wait_until

KEYS = QueueKeys()


@pytest.fixture
def census(redis: Redis, queue_redis: Redis) -> Census:
    return Census(redis, queue_redis, Keyspace(), Queue(queue_redis, KEYS))


async def names(redis: Redis, key: str) -> list[str]:
    return sorted(raw.decode() for raw in await redis.zrange(key, 0, -1))


async def ended(redis: Redis, log: EventLog, session_id: str) -> str:
    task_id = await submit(log, session_id)
    attempt = await claim(redis, session_id)
    await attempt.append(log, attempt.started(), attempt.complete())
    return task_id


async def test_a_queue_store_that_knows_nothing_is_told_of_live_tasks_and_of_all_for_lists(
    census: Census, redis: Redis, queue_redis: Redis
) -> None:
    """Hints for what lives, the holder's first; indexes with the times of old. What was deleted stays away."""
    log = EventLog(redis)
    holder, waiting, other = await submit(log, "a"), await submit(log, "a"), await ended(redis, log, "b")
    await ended(redis, log, "gone")
    await log.append_control(session_keys("gone"), "delete", [Envelope("gone").encode(SessionDeleted())])
    assert await census.look()
    assert await queue_redis.zrange(KEYS.due, 0, -1) == [f"{TENANT}/{holder}".encode(), f"{TENANT}/{waiting}".encode()]
    assert await names(queue_redis, KEYS.sessions(TENANT)) == ["a", "b"]
    assert await names(queue_redis, KEYS.tasks(TENANT)) == sorted([holder, waiting, other])
    created = {t: int(await redis.hget(session_keys("a").task(t), "created_at")) for t in (holder, waiting)}  # type: ignore[misc, arg-type]
    assert await queue_redis.zscore(KEYS.tasks(TENANT), holder) == created[holder]
    assert await queue_redis.zscore(KEYS.sessions(TENANT), "a") == created[waiting]
    assert not await queue_redis.exists(KEYS.census)


async def test_a_whole_queue_store_is_left_alone(census: Census, redis: Redis, queue_redis: Redis) -> None:
    """However many look."""
    assert await census.look()
    await submit(EventLog(redis))
    others = [Census(redis, queue_redis, Keyspace(), Queue(queue_redis, KEYS)) for _ in range(5)]
    for _ in range(3):
        assert not any(await asyncio.gather(*(each.look() for each in [census, *others])))
    assert not await queue_redis.exists(KEYS.due)


async def test_an_emptied_queue_store_is_noticed(census: Census, redis: Redis, queue_redis: Redis) -> None:
    """FLUSHALL, or a new machine."""
    await census.look()
    task_id = await submit(EventLog(redis))
    await queue_redis.flushdb()
    assert await census.look()
    assert await names(queue_redis, KEYS.due) == [f"{TENANT}/{task_id}"]
    assert not await census.look()


async def test_a_restarted_queue_store_is_told_again(redis: Redis, own_store: Store, own_redis: Redis) -> None:
    """It came up with what it had on disk, which may be old; what it still has of hints is kept."""
    census = Census(redis, own_redis, Keyspace(), Queue(own_redis, KEYS))
    await census.look()
    await own_redis.zadd(KEYS.due, {f"{TENANT}/s9.abcdefghij": 5})
    await own_redis.save()
    task_id = await submit(EventLog(redis))
    own_store.kill()
    own_store.start()
    assert await census.look()
    assert await own_redis.zscore(KEYS.due, f"{TENANT}/s9.abcdefghij") == 5
    assert await names(own_redis, KEYS.due) == sorted([f"{TENANT}/{task_id}", f"{TENANT}/s9.abcdefghij"])
    assert not await census.look()


async def test_one_counts_at_a_time_and_another_when_it_is_gone(
    census: Census, redis: Redis, queue_redis: Redis
) -> None:
    """The lock of one that died lapses; nothing counts as whole before somebody came to the end."""
    await queue_redis.set(KEYS.census, "another", px=150)
    assert not await census.look()
    assert not await queue_redis.exists(KEYS.counted)
    await wait_until(census.look)


async def test_a_loss_in_the_middle_of_a_census_is_not_overlooked(
    census: Census, redis: Redis, queue_redis: Redis
) -> None:
    """What was told before it is gone again: the census is not done, and is begun anew."""
    log = EventLog(redis)
    tasks = [await submit(log, f"s{number}") for number in range(120)]
    looking = asyncio.create_task(census.look())
    await wait_until(lambda: queue_redis.exists(KEYS.due))
    await queue_redis.flushdb()
    with pytest.raises(Lapsed):
        await looking
    assert await census.look()
    assert len(await names(queue_redis, KEYS.due)) == len(tasks)


async def test_every_session_is_found_while_others_come_and_go(
    census: Census, redis: Redis, queue_redis: Redis
) -> None:
    """Slices of a scan that is not a snapshot."""
    log = EventLog(redis)
    steady = {await submit(log, f"steady{number}") for number in range(150)}
    looking = asyncio.create_task(census.look())
    coming = 0
    while not looking.done():
        coming += 1
        await ended(redis, log, f"coming{coming}")
    assert looking.result()
    assert steady <= {name.removeprefix(f"{TENANT}/") for name in await names(queue_redis, KEYS.due)}
