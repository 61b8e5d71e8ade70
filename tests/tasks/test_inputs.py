"""What is said to a live task is heard, or refused."""

import pytest
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.errors import AlreadyTerminal
from runcast_events.events import TaskRequeued
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog, Write
from runcast_tasks.control import Control
from runcast_tasks.errors import Ending, InputExists
from runcast_tasks.inputs import Inputs
from tests.attempts import TENANT, Attempt, claim, session_keys, submit


@pytest.fixture
def log(redis: Redis) -> EventLog:
    return EventLog(redis)


@pytest.fixture
def control(redis: Redis, log: EventLog) -> Control:
    return Control(redis, log, Keyspace(), TENANT)


async def begun(redis: Redis, log: EventLog) -> Attempt:
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    return attempt


async def test_what_was_said_is_read_in_its_order_until_it_is_heard(
    redis: Redis, log: EventLog, control: Control
) -> None:
    """Also after a last look: who has found something has to go on, and hear more."""
    attempt = await begun(redis, log)
    inputs = Inputs(redis, attempt.hold)
    for text in ("first", "second"):
        await control.say(attempt.task_id, "anna", text)
    first, second = await inputs.read(last=True)
    assert [(said.text, said.by) for said in (first, second)] == [("first", "anna"), ("second", "anna")]
    await control.say(attempt.task_id, "bert", "third")
    heard = [[Write("heard", first.name, "")], [Write("heard", second.name, "")]]
    await log.append(attempt.hold, 2, [attempt.output("1"), attempt.output("2")], heard)
    assert [said.text for said in await inputs.read()] == ["third"]
    await log.append(attempt.hold, 4, [attempt.complete()])


async def test_what_is_sent_again_with_its_id_is_said_once(redis: Redis, log: EventLog, control: Control) -> None:
    """Also when it was heard meanwhile, and when the task has ended: who sent it learns that it was taken."""
    attempt = await begun(redis, log)
    inputs = Inputs(redis, attempt.hold)
    assert await control.say(attempt.task_id, "anna", "hello", "a") == "running"
    assert await control.say(attempt.task_id, "anna", "hello", "a") == "running"
    await control.say(attempt.task_id, "anna", "hello", "b")
    with pytest.raises(InputExists):
        await control.say(attempt.task_id, "anna", "something else", "b")
    first, second = await inputs.read()
    heard = [[Write("heard", first.name, ""), Write("heard", second.name, "")]]
    await log.append(attempt.hold, 2, [attempt.output("1")], heard)
    assert await control.say(attempt.task_id, "anna", "hello", "a") == "running"
    assert await inputs.read() == []
    await log.append(attempt.hold, 3, [attempt.complete()])
    assert await control.say(attempt.task_id, "anna", "hello", "a") == "complete"
    with pytest.raises(AlreadyTerminal):
        await control.say(attempt.task_id, "anna", "hello", "c")


async def test_after_the_last_look_nothing_is_taken(redis: Redis, log: EventLog, control: Control) -> None:
    """It would never be heard. Other commands are taken as before."""
    attempt = await begun(redis, log)
    assert await Inputs(redis, attempt.hold).read(last=True) == []
    with pytest.raises(Ending):
        await control.say(attempt.task_id, "anna", "too late")
    assert (await control.cancel(attempt.task_id, "anna")).state == "running"
    await log.append(attempt.hold, 2, [attempt.complete()])


async def test_what_was_read_does_not_keep_the_last_look_from_being_the_last(
    redis: Redis, log: EventLog, control: Control
) -> None:
    """It waits until the event that tells of it is in the log, which may take longer than the model's answer."""
    attempt = await begun(redis, log)
    inputs = Inputs(redis, attempt.hold)
    await control.say(attempt.task_id, "anna", "in time")
    assert [said.text for said in await inputs.read()] == ["in time"]
    assert await inputs.read(last=True) == []
    with pytest.raises(Ending):
        await control.say(attempt.task_id, "anna", "too late")
    await log.append(attempt.hold, 2, [attempt.complete()])


async def test_another_attempt_hears_again(redis: Redis, log: EventLog, control: Control) -> None:
    """One that vanished between its last look and the task's end; what a zombie looks at changes nothing."""
    attempt = await begun(redis, log)
    zombie = Inputs(redis, attempt.hold)
    await zombie.read(last=True)
    requeued = Envelope("s1", attempt.task_id).encode(TaskRequeued(reason="crash"))
    await log.append_control(session_keys(), "op", [requeued], task_id=attempt.task_id)
    successor = await claim(redis)
    await successor.append(log, successor.started())
    await zombie.read(last=True)
    await control.say(attempt.task_id, "anna", "again")
    assert [said.text for said in await Inputs(redis, successor.hold).read()] == ["again"]
    await successor.append(log, successor.complete())


async def test_a_task_of_a_full_store_ends_all_the_same(own_redis: Redis) -> None:
    """The last look fails for no want of memory."""
    attempt = await begun(own_redis, EventLog(own_redis))
    await own_redis.config_set("maxmemory", 1)
    assert await Inputs(own_redis, attempt.hold).read(last=True) == []
