"""publisher.py: order, batches, back-pressure, and what an attempt does when the store fails it."""

import asyncio
import random
from typing import Any

import pytest
from redis.asyncio import Redis
from redis.exceptions import ReadOnlyError

from runcast_events.codec import Envelope
from runcast_events.errors import AlreadyTerminal, Fenced, Gone, PublisherClosed
from runcast_events.events import SessionDeleted, TaskCancelled, TaskRequeued
from runcast_events.log import EventLog, Write
from runcast_events.publisher import Publisher, PublisherLimits
from runcast_events.redis import connect
from runcast_local.store import Store
from tests.attempts import Attempt, claim, entries, session_keys, submit
from tests.conftest import wait_until
from tests.history import check_log, check_tasks
from tests.proxy import running_proxy


def publisher(log: EventLog, attempt: Attempt, **limits: float) -> Publisher:
    return Publisher(log, attempt.hold, attempt.envelope, PublisherLimits(**limits))  # type: ignore[arg-type]


def outputs(log: list[object]) -> list[bytes]:
    return [entry.payload for entry in log if entry.type == "output"]  # type: ignore[attr-defined]


async def test_events_arrive_in_order_and_batched(redis: Redis) -> None:
    """A burst takes far fewer appends than events; nothing is lost, doubled or out of order."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await redis.config_resetstat()
    events = [attempt.output(str(i)) for i in range(2000)]
    async with publisher(log, attempt) as writer:
        await writer.publish(attempt.started())
        for event in events:
            await writer.publish(event)
        await writer.publish(attempt.complete())
    written = await entries(redis)
    check_log(written)
    check_tasks(written)
    assert outputs(written) == [event.payload for event in events]
    assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] < 100


async def test_what_is_published_together_is_appended_together(redis: Redis) -> None:
    """However small the batches are: a reader sees all of it or nothing."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    async with publisher(log, attempt, batch_events=1, linger_s=0) as writer:
        await writer.publish(attempt.started())
        await writer.acknowledged()
        await redis.config_resetstat()
        for _ in range(5):
            await writer.publish_together(
                [(attempt.output("a"), ()), (attempt.output("b"), ()), (attempt.output("c"), ())]
            )
        await writer.acknowledged()
        assert (await redis.info("commandstats"))["cmdstat_evalsha"]["calls"] == 5
        await writer.publish(attempt.complete())
    check_log(await entries(redis))


async def test_a_lone_event_is_sent_at_once(redis: Redis) -> None:
    """The linger holds up only what follows another batch too closely."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    async with publisher(log, attempt, linger_s=5) as writer:
        await asyncio.wait_for(writer.acknowledged(await writer.publish(attempt.started())), 1)
        await writer.abandon()
    assert (await entries(redis))[-1].type == "task_started"
    await redis.flushdb()


async def test_a_store_that_does_not_answer_holds_up_the_producer(redis: Redis, store: Store) -> None:
    """Back-pressure: what is unacknowledged is bounded, and goes on when the store is back."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    number = redis.connection_pool.connection_kwargs["db"]
    async with running_proxy(store.port) as proxy:
        proxied = connect(f"{proxy.url}/{number}", "test", command_timeout_s=0.3, retries=0)
        writer = publisher(EventLog(proxied), attempt, unacknowledged_bytes=2000)
        async with writer:
            await writer.acknowledged(await writer.publish(attempt.started()))
            proxy.silent = True
            handed_over = 0

            async def produce() -> None:
                nonlocal handed_over
                for i in range(100):
                    await writer.publish(attempt.output(str(i)))
                    handed_over += 1

            producing = asyncio.create_task(produce())
            done, _ = await asyncio.wait([producing], timeout=0.5)
            assert not done
            assert handed_over < 20
            proxy.silent = False
            proxy.cut()
            await producing
            await writer.publish(attempt.complete())
        await proxied.aclose()
    check_tasks(await entries(redis))
    assert len(outputs(await entries(redis))) == 100


@pytest.mark.parametrize("seed", range(3))
async def test_lost_replies_are_retried_without_a_trace(redis: Redis, store: Store, seed: int) -> None:
    """Every few replies the line breaks after the store has written: the log is as if nothing had happened."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    chance = random.Random(seed)
    number = redis.connection_pool.connection_kwargs["db"]
    async with running_proxy(store.port) as proxy:
        proxied = connect(f"{proxy.url}/{number}", "test")
        async with publisher(EventLog(proxied), attempt, batch_events=5, linger_s=0) as writer:
            await writer.publish(attempt.started())
            proxy.lose_reply = lambda _: chance.random() < 0.2
            events = [attempt.output(str(i)) for i in range(150)]
            for event in events:
                await writer.publish(event)
                if chance.random() < 0.3:
                    await writer.acknowledged()
            await writer.publish(attempt.complete())
        assert proxy.lost > 5
        await proxied.aclose()
    written = await entries(redis)
    check_log(written)
    check_tasks(written)
    assert outputs(written) == [event.payload for event in events]


async def test_a_fenced_attempt_stops_and_says_so(redis: Redis) -> None:
    """`failed` is set, and every further call raises."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    async with publisher(log, attempt) as writer:
        await writer.acknowledged(await writer.publish(attempt.started()))
        requeued = Envelope("s1", task_id).encode(TaskRequeued(reason="crash"))
        await log.append_control(session_keys(), "op", [requeued], task_id=task_id)
        await writer.publish(attempt.output("late"))
        await asyncio.wait_for(writer.failed.wait(), 5)
        for call in (writer.publish(attempt.output("later")), writer.acknowledged()):
            with pytest.raises(Fenced):
                await call
    assert outputs(await entries(redis)) == []
    await redis.flushdb()


async def test_a_task_that_ended_otherwise_stops_its_attempt(redis: Redis) -> None:
    """Cancelled between claim and start: the attempt's first append learns it."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    cancelled = Envelope("s1", task_id).encode(TaskCancelled(by="test"))
    await log.append_control(session_keys(), "op", [cancelled], task_id=task_id)
    async with publisher(log, attempt) as writer:
        await writer.publish(attempt.started())
        with pytest.raises(AlreadyTerminal):
            await writer.acknowledged()


async def test_a_deleted_session_stops_its_attempt(redis: Redis) -> None:
    """GONE with a tombstone: nothing is made again."""
    log = EventLog(redis)
    await submit(log)
    first = await claim(redis)
    await first.append(log, first.started(), first.complete())
    await log.append_control(session_keys(), "op", [Envelope("s1").encode(SessionDeleted())])
    async with publisher(log, first) as writer:
        await writer.publish(first.output("late"))
        with pytest.raises(Gone):
            await writer.acknowledged()
    assert not await redis.exists(session_keys().task(first.task_id))


async def test_a_store_that_lost_everything_is_made_whole_from_memory(redis: Redis) -> None:
    """GONE without a tombstone: record, hold, checkpoint, journal, and all that the ring has, in a new epoch."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    keys = session_keys()
    async with publisher(log, attempt) as writer:
        await writer.publish(attempt.started())
        writes = [Write("checkpoint", "", b"here"), Write("journal", "1.0", b"done")]
        await writer.acknowledged(await writer.publish(attempt.output("a"), writes))
        await redis.flushdb()
        await writer.acknowledged(await writer.publish(attempt.output("b")))
        written = await entries(redis)
        check_log(written)
        assert [entry.type for entry in written] == ["task_started", "output", "output"]
        assert await redis.get(keys.checkpoint(task_id)) == b"here"
        assert await redis.hget(keys.journal(task_id), "1.0") == b"done"
        assert await redis.hget(keys.task(task_id), "prompt") == b"hello"
        await writer.publish(attempt.complete())
    assert (await redis.hget(keys.task(task_id), "state")) == b"complete"


async def test_what_the_ring_no_longer_has_is_said(redis: Redis) -> None:
    """`log_lost` stands in the place of the last lost event, with the sequences that are lost."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    async with publisher(log, attempt, ring_bytes=600) as writer:
        await writer.acknowledged(await writer.publish(attempt.started()))
        copy = {key: await redis.dump(key) for key in await redis.keys("*") if b":operation:" not in key}
        for i in range(20):
            await writer.acknowledged(await writer.publish(attempt.output(str(i))))
        for key, value in copy.items():
            await redis.restore(key, 0, value, replace=True)
        await writer.publish(attempt.output("next"))
        await writer.publish(attempt.complete())
    written = await entries(redis)
    check_log(written)
    check_tasks(written)
    (lost,) = [entry for entry in written if entry.type == "log_lost"]
    kept = len(outputs(written)) - 1
    assert f'"from":2,"to":{21 - kept}'.encode() in lost.payload
    assert written[written.index(lost) - 1].type == "task_started"


class Failing(EventLog):
    """Its reinstalls fail in a way that passes, some times."""

    failures = 3

    async def reinstall(self, *args: Any, **kwargs: Any) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise ReadOnlyError("a replica")
        await super().reinstall(*args, **kwargs)


async def restore(redis: Redis, copy: dict[bytes, bytes]) -> None:
    for key, value in copy.items():
        await redis.restore(key, 0, value, replace=True)


async def copied(redis: Redis) -> dict[bytes, bytes]:
    return {key: await redis.dump(key) for key in await redis.keys("*") if b":operation:" not in key}


async def test_a_recovery_that_fails_on_the_way_is_begun_again_from_the_same_place(redis: Redis) -> None:
    """One `log_lost`, whatever it takes; and back-pressure counts right afterwards."""
    log = Failing(redis)
    await submit(log)
    attempt = await claim(redis)
    async with publisher(log, attempt, ring_bytes=600) as writer:
        await writer.acknowledged(await writer.publish(attempt.started()))
        copy = await copied(redis)
        for i in range(20):
            await writer.acknowledged(await writer.publish(attempt.output(str(i))))
        await restore(redis, copy)
        await writer.publish(attempt.output("next"))
        await writer.acknowledged()
        assert writer._ring.waiting_bytes == 0
        await writer.publish(attempt.complete())
    types = [entry.type for entry in await entries(redis)]
    assert types.count("log_lost") == 1
    check_tasks(await entries(redis))


class Deaf(EventLog):
    """The reply of its first reinstall is lost."""

    deaf = True

    async def reinstall(self, *args: Any, **kwargs: Any) -> None:
        await super().reinstall(*args, **kwargs)
        if self.deaf:
            self.deaf = False
            raise ReadOnlyError("the reply was lost")


async def test_a_loss_is_told_from_where_it_began(redis: Redis) -> None:
    """Also when the first try to put the hold back was carried out unheard."""
    log = Deaf(redis)
    await submit(log)
    attempt = await claim(redis)
    copy = await copied(redis)
    async with publisher(log, attempt, ring_bytes=300) as writer:
        await writer.publish(attempt.started())
        for i in range(20):
            await writer.acknowledged(await writer.publish(attempt.output(str(i))))
        await restore(redis, copy)
        await writer.publish(attempt.output("next"))
        await writer.publish(attempt.complete())
    (lost,) = [entry for entry in await entries(redis) if entry.type == "log_lost"]
    assert b'"from":1,' in lost.payload


async def test_a_recovery_whose_store_caught_up_meanwhile_is_forgotten(redis: Redis) -> None:
    """A lagging replica answered; the master has everything. Nothing is sent twice and nothing is held up."""
    log = Failing(redis)
    await submit(log)
    attempt = await claim(redis)
    async with publisher(log, attempt) as writer:
        await writer.acknowledged(await writer.publish(attempt.started()))
        behind = await copied(redis)
        await writer.acknowledged(await writer.publish(attempt.output("a")))
        ahead = await copied(redis)
        await restore(redis, behind)
        await writer.publish(attempt.output("b"))
        await wait_until(lambda: log.failures < 3)
        await restore(redis, ahead)
        await writer.acknowledged()
        assert writer._ring.waiting_bytes == 0
        await writer.publish(attempt.complete())
    written = await entries(redis)
    check_log(written)
    assert len(outputs(written)) == 2


@pytest.mark.parametrize("outputs_before", [1, 10])
async def test_an_attempt_that_lost_even_its_start_goes_on(redis: Redis, outputs_before: int) -> None:
    """Rolled back to between claim and start, with the start, and maybe only that, no longer in the ring."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    copy = await copied(redis)
    async with publisher(log, attempt, ring_bytes=300) as writer:
        await writer.acknowledged(await writer.publish(attempt.started()))
        for i in range(outputs_before):
            await writer.acknowledged(await writer.publish(attempt.output(str(i))))
        await restore(redis, copy)
        await writer.publish(attempt.output("next"))
        await writer.publish(attempt.complete())
    types = [entry.type for entry in await entries(redis)]
    assert types.count("log_lost") == 1
    assert types[-1] == "task_complete"


async def test_a_recovery_keeps_what_earlier_attempts_left(redis: Redis) -> None:
    """Their checkpoint and journal are not this publisher's to forget."""
    log = EventLog(redis)
    task_id = await submit(log)
    first = await claim(redis)
    keys = session_keys()
    writes = [Write("checkpoint", "", b"cp1"), Write("journal", "1.0", b"finished")]
    await log.append(first.hold, 1, [first.started()], [writes])
    requeued = Envelope("s1", task_id).encode(TaskRequeued(reason="crash"))
    await log.append_control(keys, "op", [requeued], task_id=task_id)
    second = await claim(redis)
    async with publisher(log, second) as writer:
        await writer.acknowledged(await writer.publish(second.started()))
        copy = await copied(redis)
        await writer.acknowledged(await writer.publish(second.output("a")))
        await restore(redis, copy)
        await writer.acknowledged(await writer.publish(second.output("b")))
        assert await redis.get(keys.checkpoint(task_id)) == b"cp1"
        assert await redis.hgetall(keys.journal(task_id)) == {b"1.0": b"finished"}
        await writer.publish(second.complete())


async def test_a_late_copy_of_a_reinstall_turns_nothing_back(redis: Redis) -> None:
    """redis-py may send a command again whose first copy is still on its way."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), attempt.output("a"))
    found = (attempt.hold.fence, "0")
    await log.reinstall(attempt.hold, 0, found)
    assert await redis.hget(session_keys().task(task_id), "seq") == b"2"
    await attempt.append(log, attempt.output("b"), attempt.complete())
    check_log(await entries(redis))


async def test_an_abandoned_publisher_refuses_more(redis: Redis) -> None:
    """Nothing waits for ever on a writer that was ended."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    async with publisher(log, attempt) as writer:
        await writer.abandon()
        with pytest.raises(PublisherClosed):
            await writer.publish(attempt.started())
    await redis.flushdb()


async def test_a_full_store_is_waited_out(own_redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """The producer's events are kept, and written once there is room."""
    log = EventLog(own_redis)
    await submit(log)
    attempt = await claim(own_redis)
    async with publisher(log, attempt) as writer:
        await writer.acknowledged(await writer.publish(attempt.started()))
        await own_redis.config_set("maxmemory", 1)
        await writer.publish(attempt.output("a"))
        await wait_until(lambda: "append waits for the store" in caplog.text)
        assert outputs(await entries(own_redis)) == []
        await own_redis.config_set("maxmemory", 0)
        await writer.acknowledged()
        await writer.publish(attempt.complete())
    assert len(outputs(await entries(own_redis))) == 1
