"""append.lua, answer by answer: each test is one line of the contract in docs/protocol.md, section 2."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from redis.exceptions import OutOfMemoryError, RedisError

from runcast_events.codec import Envelope
from runcast_events.entry import decode_publication
from runcast_events.errors import AlreadyTerminal, Fenced, Gone, IllegalMove, Rewound
from runcast_events.events import SessionDeleted, TaskCancelled, TaskPaused, TaskRequeued, TaskResumed
from runcast_events.ids import START, EventId
from runcast_events.log import EventLog, LogLimits, Write
from runcast_events.reader import LogReader
from runcast_events.redis import connect, passes
from runcast_local.store import Store
from tests.attempts import claim, entries, session_keys, submit
from tests.conftest import DATABASES
from tests.history import check_log, check_tasks


async def test_ids_count_without_a_hole_and_epochs_name_the_id_before(redis: Redis) -> None:
    """A new epoch opens when the writer changes; its first entry carries `prev`."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), attempt.output("a"))
    await attempt.append(log, attempt.output("b"))
    written = await entries(redis)
    check_log(written)
    assert [entry.id.n for entry in written] == [1, 2, 3, 1, 2, 3]
    assert [entry.prev for entry in written if entry.id.n == 1] == [START, written[2].id]
    await attempt.append(log, attempt.complete())


async def test_a_retried_batch_is_written_once(redis: Redis) -> None:
    """DUP: after a lost reply the same batch counts as success."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    batch = [attempt.started(), attempt.output("a")]
    first = await log.append(attempt.hold, 1, batch)
    again = await log.append(attempt.hold, 1, batch)
    assert again.duplicate
    assert again.last == first.last
    assert len(await entries(redis)) == 5
    await log.append(attempt.hold, 3, [attempt.complete()])


async def test_of_a_grown_batch_only_the_new_part_is_written(redis: Redis) -> None:
    """A writer that added to an unanswered batch repeats nothing: no event, and nothing that goes with one."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    batch = [attempt.started(), attempt.output("a"), attempt.output("b")]
    writes = [[], [Write("message", "", "a"), Write("tally", "input", "1")], [Write("message", "", "b")]]
    await log.append(attempt.hold, 1, batch[:2], writes[:2])
    await log.append(attempt.hold, 1, batch, writes)
    written = await entries(redis)
    check_log(written)
    assert [entry.type for entry in written[3:]] == ["task_started", "output", "output"]
    assert await redis.lrange(session_keys().messages, 0, -1) == [b"a", b"b"]
    assert await redis.hget(session_keys().task(attempt.task_id), "usage_input") == b"1"
    await log.append(attempt.hold, 4, [attempt.complete()])


async def test_an_attempt_that_lost_its_hold_is_fenced_even_when_it_repeats_itself(redis: Redis) -> None:
    """FENCED comes before DUP: a zombie must not take a repeated batch for a success."""
    log = EventLog(redis)
    task_id = await submit(log)
    zombie = await claim(redis)
    await zombie.append(log, zombie.started())
    requeued = Envelope("s1", task_id).encode(TaskRequeued(reason="crash"))
    await log.append_control(session_keys(), "op", [requeued], task_id=task_id, legal=["running"])
    successor = await claim(redis)
    await successor.append(log, successor.started(), successor.output("mine"))
    for first, event in ((1, zombie.started()), (2, zombie.output("late"))):
        with pytest.raises(Fenced):
            await log.append(zombie.hold, first, [event])
    await successor.append(log, successor.complete())
    check_tasks(await entries(redis))


async def test_a_control_requeue_fences_at_once(redis: Redis) -> None:
    """Taking a task from a running attempt raises the fence, before anybody claims it again."""
    log = EventLog(redis)
    task_id = await submit(log)
    zombie = await claim(redis)
    await zombie.append(log, zombie.started())
    requeued = Envelope("s1", task_id).encode(TaskRequeued(reason="crash"))
    await log.append_control(session_keys(), "op", [requeued], task_id=task_id)
    with pytest.raises(Fenced):
        await zombie.append(log, zombie.output("late"))


async def test_a_jump_of_the_sequence_means_that_the_store_lost_its_tail(redis: Redis) -> None:
    """REWOUND says how far the store knows this attempt; nothing is written."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    with pytest.raises(Rewound) as rewound:
        await log.append(attempt.hold, 5, [attempt.output("a")])
    assert (rewound.value.known, rewound.value.fence_known) == (1, True)
    assert len(await entries(redis)) == 4


async def test_a_fence_above_the_stored_one_means_that_the_claim_was_lost(redis: Redis) -> None:
    """REWOUND 0: the store was rolled back to before the claim."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    await redis.hset(session_keys().task(task_id), "fence", "0:x")
    with pytest.raises(Rewound) as rewound:
        await attempt.append(log, attempt.started())
    assert (rewound.value.known, rewound.value.fence_known) == (0, False)


async def test_an_equal_number_with_another_random_is_fenced(redis: Redis) -> None:
    """After a rollback two claims may have the same number; one of them wins."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    await redis.hset(session_keys().task(task_id), "fence", attempt.hold.fence.split(":")[0] + ":other")
    with pytest.raises(Fenced):
        await attempt.append(log, attempt.started())


async def test_nothing_follows_a_terminal_event(redis: Redis) -> None:
    """TERMINAL, for the attempt and for everybody else; the terminal event itself may be retried."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    await log.append(attempt.hold, 1, [attempt.started(), attempt.complete()])
    assert (await log.append(attempt.hold, 1, [attempt.started(), attempt.complete()])).duplicate
    with pytest.raises(AlreadyTerminal):
        await log.append(attempt.hold, 3, [attempt.output("late")])
    cancelled = Envelope("s1", task_id).encode(TaskCancelled(by="test"))
    with pytest.raises(AlreadyTerminal):
        await log.append_control(session_keys(), "op", [cancelled], task_id=task_id)
    assert (await entries(redis))[-1].type == "task_complete"


async def test_a_batch_is_refused_whole(redis: Redis) -> None:
    """ILLEGAL: one event out of place, and nothing of its batch is written."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    with pytest.raises(IllegalMove) as illegal:
        await log.append(attempt.hold, 1, [attempt.started(), attempt.complete(), attempt.output("late")])
    assert (illegal.value.state, illegal.value.event_type) == ("complete", "output")
    assert len(await entries(redis)) == 3


async def test_a_control_operation_is_done_once_and_only_where_legal(redis: Redis) -> None:
    """The operation id de-duplicates; the set of legal states is the caller's word beside the table."""
    log = EventLog(redis)
    task_id = await submit(log)
    keys, envelope = session_keys(), Envelope("s1", task_id)
    paused = [envelope.encode(TaskPaused(by="test"))]
    first = await log.append_control(keys, "op1", paused, task_id=task_id, legal=["queued"])
    again = await log.append_control(keys, "op1", paused, task_id=task_id, legal=["queued"])
    assert again.duplicate
    assert (again.first, again.last) == (first.first, first.last)
    with pytest.raises(IllegalMove) as illegal:
        await log.append_control(keys, "op2", paused, task_id=task_id, legal=["queued"])
    assert illegal.value.state == "paused"
    await log.append_control(keys, "op3", [envelope.encode(TaskResumed(by="test"))], task_id=task_id)
    check_tasks(await entries(redis), ended=False)


async def test_an_unknown_task_or_session_is_gone(redis: Redis) -> None:
    """GONE, for a control operation and for an attempt whose record is lost."""
    log = EventLog(redis)
    cancelled = Envelope("s1", "s1.aaaaaaaaaa").encode(TaskCancelled(by="test"))
    for legal in ((), ("queued",)):
        with pytest.raises(Gone):
            await log.append_control(session_keys(), "op", [cancelled], task_id="s1.aaaaaaaaaa", legal=legal)
    task_id = await submit(log)
    with pytest.raises(Gone):
        await log.append_control(session_keys(), "op", [cancelled], task_id="s1.aaaaaaaaaa", legal=["queued"])
    attempt = await claim(redis)
    await redis.delete(session_keys().task(task_id))
    with pytest.raises(Gone) as gone:
        await attempt.append(log, attempt.started())
    assert not gone.value.deleted


async def test_a_deleted_session_keeps_its_last_event_and_a_tombstone(redis: Redis) -> None:
    """Everything else goes at once, nobody can write to it again, and what is left expires."""
    log = EventLog(redis)
    deleted = [Envelope("s1").encode(SessionDeleted())]
    await submit(log)
    with pytest.raises(IllegalMove):
        await log.append_control(session_keys(), "op1", deleted)  # a task lives
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), attempt.complete())
    await log.append_control(session_keys(), "op2", deleted)
    assert [entry.type for entry in await entries(redis)] == ["session_deleted"]
    with pytest.raises(Gone) as gone:
        await submit(log)
    assert gone.value.deleted
    left = {key.decode().rpartition("}:")[2].partition(":")[0] for key in await redis.keys("*")}
    assert left == {"events", "meta", "operation"}


async def test_a_session_at_rest_expires_together_and_a_new_task_keeps_it(redis: Redis) -> None:
    """No TTL while a task lives; one for all keys when the last one ended; none again with the next task."""
    log = EventLog(redis, LogLimits(ttl_s=100))
    keys = session_keys()

    async def ttls() -> set[int]:
        names = [key.decode() for key in await redis.keys("*") if b":operation:" not in key]
        return {round(await redis.pttl(name), -4) for name in names if name != keys.lease}  # -1 (none) rounds to 0

    await submit(log)
    assert await ttls() == {0}
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), attempt.complete())
    assert await ttls() == {100_000}
    assert not await redis.exists(keys.lease)
    await submit(log)
    assert await ttls() == {0}
    await redis.flushdb()


async def test_the_log_is_trimmed_to_its_bounds_exactly(redis: Redis) -> None:
    """By count and by bytes; what stays is whole, and the retained bytes are known."""
    for limits in (LogLimits(max_entries=20), LogLimits(max_bytes=20_000)):
        await redis.flushdb()
        log = EventLog(redis, limits)
        await submit(log)
        attempt = await claim(redis)
        await attempt.append(log, attempt.started())
        for i in range(30):
            await attempt.append(log, *(attempt.output("x" * (37 * i % 400)) for _ in range(1 + i % 7)))
        written = await entries(redis)
        check_log(written, trimmed=True)
        retained = sum(len(entry.payload) + 64 for entry in written)
        assert len(written) <= limits.max_entries
        assert retained <= limits.max_bytes
        assert len(written) == 20 or retained > 20_000 - 1000
        meta = await redis.hmget(session_keys().meta, "bytes", "trimmed")
        assert int(meta[0]) - int(meta[1]) == retained
    await redis.flushdb()


async def test_one_publication_carries_the_batch(redis: Redis) -> None:
    """Ids, types and payloads as in the log, on the log's own channel; above the limit only ids."""
    log = EventLog(redis, LogLimits(publication_bytes=2000))
    await submit(log)
    attempt = await claim(redis)
    listener = redis.pubsub(ignore_subscribe_messages=True)
    await listener.subscribe(session_keys().events)
    await attempt.append(log, attempt.started(), attempt.output("a"))
    await attempt.append(log, *(attempt.output("x" * 500) for _ in range(5)))
    messages = []
    while len(messages) < 2:
        if (message := await listener.get_message(timeout=1)) is not None:
            messages.append(message["data"])
    written = await entries(redis)
    small, large = map(decode_publication, messages)
    assert small.entries == [entry.raw for entry in written[3:5]]
    assert (small.prev, small.total_bytes) == (written[2].id.encode(), written[4].total_bytes)
    assert (large.entries, large.prev, large.last) == ([], written[4].id.encode(), written[-1].id.encode())
    await listener.aclose()
    await attempt.append(log, attempt.complete())


async def test_checkpoint_journal_and_messages_are_written_in_the_same_step(redis: Redis) -> None:
    """A zombie can overwrite none of them; the terminal event takes checkpoint and journal away."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    keys = session_keys()
    writes = [
        Write("checkpoint", "", b"here"),
        Write("journal", "1.0", b"done"),
        Write("message", "", '{"role":"user"}'),
    ]
    await log.append(attempt.hold, 1, [attempt.started()], [writes])
    assert await redis.get(keys.checkpoint(task_id)) == b"here"
    assert await redis.hgetall(keys.journal(task_id)) == {b"1.0": b"done"}
    assert await redis.lrange(keys.messages, -1, -1) == [b'{"role":"user"}']
    requeued = Envelope("s1", task_id).encode(TaskRequeued(reason="crash"))
    await log.append_control(keys, "op", [requeued], task_id=task_id)
    with pytest.raises(Fenced):
        await log.append(attempt.hold, 2, [attempt.output("x")], [[Write("checkpoint", "", b"stolen")]])
    assert await redis.get(keys.checkpoint(task_id)) == b"here"
    successor = await claim(redis)
    await successor.append(log, successor.started(), successor.complete())
    assert not await redis.exists(keys.checkpoint(task_id), keys.journal(task_id))


async def test_a_full_store_refuses_events_whole_but_takes_terminals_and_checkpoints(own_redis: Redis) -> None:
    """The first write of an ordinary append is its XADD; that of a terminal event or checkpoint frees something."""
    redis = own_redis
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    await redis.config_set("maxmemory", 1)
    before = await redis.hgetall(session_keys().meta)
    with pytest.raises(RedisError) as refused:
        await log.append(attempt.hold, 2, [attempt.output("a"), attempt.output("b")])
    assert passes(refused.value)
    assert isinstance(refused.value, OutOfMemoryError) or "OOM" in str(refused.value)
    assert await redis.hgetall(session_keys().meta) == before
    assert len(await entries(redis)) == 4
    await log.append(attempt.hold, 2, [attempt.output("a")], [[Write("checkpoint", "", b"c")]])
    await log.append(attempt.hold, 3, [attempt.complete()])
    await redis.config_set("maxmemory", 0)
    written = await entries(redis)
    check_log(written)
    check_tasks(written)


async def test_the_finisher_learns_who_is_next_and_how_many_requests_wait(redis: Redis) -> None:
    """The terminal append answers with the session's next holder, any append with the waiting control requests."""
    log = EventLog(redis)
    first, second = await submit(log), await submit(log)
    attempt = await claim(redis)
    assert attempt.task_id == first
    await redis.hset(session_keys().control(first), "cancel", "{}")
    assert (await attempt.append(log, attempt.started())).control == 1
    assert (await attempt.append(log, attempt.complete())).next_task == second
    last = await claim(redis)
    assert last.task_id == second
    assert (await last.append(log, last.started(), last.complete())).next_task is None


async def test_a_second_submitter_does_not_create_the_session_again(redis: Redis) -> None:
    """Both send session_created; one is written. The retry of a submit is answered as the first."""
    log = EventLog(redis)
    await submit(log, operation="same")
    await submit(log)
    types = [entry.type for entry in await entries(redis)]
    assert types.count("session_created") == 1
    assert types.count("task_queued") == 2


@given(st.lists(st.integers(1, 5), min_size=1, max_size=8), st.data())
@settings(max_examples=25, deadline=None)
def test_lost_replies_and_grown_batches_leave_the_log_as_if_nothing_happened(
    store: Store, sizes: list[int], data: st.DataObject
) -> None:
    """Each batch may be sent again, as it was or grown, any number of times: every event is in the log once."""

    async def scenario(redis: Redis) -> None:
        log = EventLog(redis)
        await submit(log)
        attempt = await claim(redis)
        await attempt.append(log, attempt.started())
        sent, total = 0, sum(sizes)
        for size in sizes:
            known = sent
            sent = min(total, sent + size)
            if sent == known:
                break  # grown batches took it all
            while data.draw(st.booleans(), label="reply lost"):
                await log.append(attempt.hold, known + 2, [attempt.output(f"<{i}>") for i in range(known, sent)])
                sent = min(total, sent + data.draw(st.integers(0, 2), label="grown by"))
            await log.append(attempt.hold, known + 2, [attempt.output(f"<{i}>") for i in range(known, sent)])
        check_log(await entries(redis))
        written = [entry.payload for entry in await entries(redis) if entry.type == "output"]
        assert len(written) == sent
        assert all(b"<%d>" % i in payload for i, payload in enumerate(written))

    async def run() -> None:
        redis = connect(f"redis://127.0.0.1:{store.port}/{DATABASES - 1}", "test")
        try:
            await scenario(redis)
        finally:
            await redis.flushdb()
            await redis.aclose()

    asyncio.run(run())


async def test_reading_pages_gives_the_whole_log(redis: Redis) -> None:
    """Whatever the page size: no entry is skipped or repeated at a page's edge."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), *(attempt.output(str(i)) for i in range(50)), attempt.complete())
    whole, reader = await entries(redis), LogReader(redis)
    for size in (1, 7, 54, 1000):
        found, cursor = [], START
        while page := (await reader.page(session_keys(), cursor, size)).entries:
            found += page
            cursor = page[-1].id
        assert found == whole
    tail = (await reader.page(session_keys(), EventId(0, 0), 1)).tail
    assert (tail.id, tail.total_bytes) == (whole[-1].id, whole[-1].total_bytes)
