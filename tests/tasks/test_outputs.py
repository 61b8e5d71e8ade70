"""Kept outputs: fenced, bounded, whole or not there, and gone with their session."""

import asyncio

import pytest
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.events import SessionDeleted, TaskRequeued
from runcast_events.log import EventLog, LogLimits
from runcast_tasks.errors import NotFound, OutputRefused
from runcast_tasks.outputs import Outputs, find_output, read_output
from tests.attempts import Attempt, claim, session_keys, submit

KEYS = session_keys()
MAX = 1000


async def begun(redis: Redis, log: EventLog | None = None) -> Attempt:
    """A running attempt at a new task of the session."""
    log = log or EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    return attempt


async def text_of(redis: Redis, task_id: str, call_id: str = "1.0") -> bytes:
    kept = await find_output(redis, KEYS, task_id, call_id)
    return b"".join([piece async for piece in read_output(redis, kept)])


async def refused(outputs: Outputs, call_id: str, offset: int, piece: bytes) -> str:
    with pytest.raises(OutputRefused) as error:
        await outputs.write(call_id, offset, piece)
    return error.value.why


async def test_pieces_make_a_whole_that_can_be_read_once_it_is_one(redis: Redis) -> None:
    """Before that there is nothing to read: a part would look like all of it."""
    attempt = await begun(redis)
    outputs = Outputs(redis, attempt.hold, MAX)
    await outputs.write("1.0", 0, b"one ")
    await outputs.write("1.0", 4, b"two")
    with pytest.raises(NotFound):
        await text_of(redis, attempt.task_id)
    await outputs.whole("1.0", 7)
    assert await text_of(redis, attempt.task_id) == b"one two"
    await attempt.append(EventLog(redis), attempt.complete())


async def test_a_repeated_piece_is_kept_once_and_a_missing_one_is_noticed(redis: Redis) -> None:
    """The reply may be lost, and the client of the store then asks again."""
    attempt = await begun(redis)
    outputs = Outputs(redis, attempt.hold, MAX)
    for _ in range(2):
        await outputs.write("1.0", 0, b"one")
    for _ in range(2):
        await outputs.write("1.0", 3, b"two")
    assert await refused(outputs, "1.0", 7, b"x") == "BROKEN"
    with pytest.raises(OutputRefused):
        await outputs.whole("1.0", 9)
    for _ in range(2):
        await outputs.whole("1.0", 6)
    assert await text_of(redis, attempt.task_id) == b"onetwo"
    assert await redis.hget(KEYS.outputs, "bytes") == b"6"  # type: ignore[misc]
    await attempt.append(EventLog(redis), attempt.complete())


async def test_all_outputs_of_a_session_together_are_bounded(redis: Redis) -> None:
    """What is given up makes room again."""
    attempt = await begun(redis)
    outputs = Outputs(redis, attempt.hold, MAX)
    await outputs.write("1.0", 0, b"x" * 600)
    assert await refused(outputs, "1.1", 0, b"x" * 600) == "FULL"
    await outputs.drop("1.0")
    assert not await redis.exists(KEYS.outputs, KEYS.output(attempt.task_id, "1.0"))
    await outputs.write("1.1", 0, b"x" * 600)
    await attempt.append(EventLog(redis), attempt.complete())


async def test_what_an_attempt_left_unfinished_makes_room_for_others(redis: Redis) -> None:
    """Nobody can read it or go on with it. What came to its end stays, also where a later call of its id is given up;
    so does what the same attempt is still at."""
    log = EventLog(redis)
    first = await begun(redis, log)
    outputs = Outputs(redis, first.hold, MAX)
    await outputs.write("1.0", 0, b"x" * 300)
    await outputs.whole("1.0", 300)
    await outputs.write("1.1", 0, b"x" * 600)
    requeue = Envelope("s1", first.task_id).encode(TaskRequeued(reason="crash"))
    await log.append_control(KEYS, "takeover", [requeue], task_id=first.task_id)
    second = await claim(redis)
    await second.append(log, second.started())
    outputs = Outputs(redis, second.hold, MAX)
    await outputs.drop("1.0")
    await outputs.write("2.0", 0, b"y" * 400)
    assert await redis.hgetall(KEYS.outputs) == {  # type: ignore[misc]
        b"bytes": b"700",
        f"{first.task_id}:1.0".encode(): f"{first.hold.fence} 300".encode(),
        f"{first.task_id}:2.0".encode(): str(second.hold.fence).encode(),
    }
    assert not await redis.exists(KEYS.output(first.task_id, "1.1"))
    assert await refused(outputs, "2.1", 0, b"z" * 400) == "FULL"
    assert await text_of(redis, first.task_id) == b"x" * 300
    await second.append(log, second.complete())


async def test_only_the_attempt_that_holds_the_running_task_writes(redis: Redis) -> None:
    """A zombie is fenced; and after the end a new key would live for ever."""
    log = EventLog(redis)
    zombie = await begun(redis, log)
    old = Outputs(redis, zombie.hold, MAX)
    await old.write("1.0", 0, b"of the zombie")
    requeue = Envelope("s1", zombie.task_id).encode(TaskRequeued(reason="crash"))
    await log.append_control(KEYS, "takeover", [requeue], task_id=zombie.task_id)
    attempt = await claim(redis)
    outputs = Outputs(redis, attempt.hold, MAX)
    assert await refused(outputs, "1.0", 0, b"x") == "FENCED", "it has not started yet"
    await attempt.append(log, attempt.started())
    assert await refused(old, "1.0", 13, b"x") == "FENCED"
    await outputs.write("1.0", 0, b"new")
    await outputs.whole("1.0", 3)
    assert await text_of(redis, attempt.task_id) == b"new", "a call's id is the same in every attempt"
    assert await redis.hget(KEYS.outputs, "bytes") == b"3"  # type: ignore[misc]
    await attempt.append(log, attempt.complete())
    assert await refused(outputs, "1.1", 0, b"x") == "FENCED"


async def test_outputs_expire_with_their_session_and_stay_while_it_goes_on(redis: Redis) -> None:
    """All keys alike; the fixture's leak check looks too."""
    log = EventLog(redis, LogLimits(ttl_s=100))
    first = await begun(redis, log)
    outputs = Outputs(redis, first.hold, MAX)
    await outputs.write("1.0", 0, b"text")
    await outputs.whole("1.0", 4)
    kept = (KEYS.outputs, KEYS.output(first.task_id, "1.0"))
    assert [await redis.pttl(key) for key in kept] == [-1, -1]
    await first.append(log, first.complete())
    assert all([0 < await redis.pttl(key) <= 100_000 for key in kept])
    second = await begun(redis, log)
    assert [await redis.pttl(key) for key in kept] == [-1, -1]
    await second.append(log, second.complete())
    assert await text_of(redis, first.task_id) == b"text"


async def test_deleting_a_session_deletes_its_outputs(redis: Redis) -> None:
    """And nothing writes into it afterwards."""
    log = EventLog(redis)
    attempt = await begun(redis, log)
    outputs = Outputs(redis, attempt.hold, MAX)
    await outputs.write("1.0", 0, b"text")
    await attempt.append(log, attempt.complete())
    await log.append_control(KEYS, "delete", [Envelope("s1").encode(SessionDeleted())])
    assert not await redis.exists(KEYS.outputs, KEYS.output(attempt.task_id, "1.0"))
    assert await refused(outputs, "1.0", 0, b"x") == "GONE"


async def test_reading_notices_that_an_output_went_away(redis: Redis) -> None:
    """Instead of giving a part for the whole."""
    attempt = await begun(redis)
    outputs = Outputs(redis, attempt.hold, MAX)
    await outputs.write("1.0", 0, b"text")
    await outputs.whole("1.0", 4)
    kept = await find_output(redis, KEYS, attempt.task_id, "1.0")
    await redis.delete(kept.key)
    with pytest.raises(NotFound):
        await asyncio.wait_for(anext(read_output(redis, kept)), 5)
    await attempt.append(EventLog(redis), attempt.complete())
