"""replicas.py: what is promised is on a replica first, and what happens while there is none that answers."""

import asyncio
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import pytest
from redis.asyncio import Redis

from runcast_api.settings import ApiSettings
from runcast_events.codec import Envelope
from runcast_events.events import TaskCancelled
from runcast_events.log import EventLog, Write
from runcast_events.publisher import Publisher
from runcast_events.redis import connect
from runcast_events.replicas import Replicas
from runcast_local.store import Store, find_program
from tests.api.running import problem, running
from tests.attempts import claim, entries, session_keys, submit
from tests.conftest import wait_until


@dataclass
class Pair:
    """A master, and a replica that can be made to hang."""

    master: Store
    replica: Store
    redis: Redis
    heard: list[str] = field(default_factory=list)

    def log(self, **options: float) -> EventLog:
        replicas = Replicas(self.redis, 1, heard=self.heard.append, **{"wait_s": 0.2, **options})
        return EventLog(self.redis, replicas=replicas)

    def hangs(self) -> None:
        assert self.replica.process is not None
        self.replica.process.send_signal(signal.SIGSTOP)

    def goes_on(self) -> None:
        assert self.replica.process is not None
        self.replica.process.send_signal(signal.SIGCONT)


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    master = Store(find_program(), tmp_path / "master", options=("--repl-diskless-sync-delay", "0"))
    behind = ("--replicaof", f"127.0.0.1 {master.port}")
    replica = Store(find_program(), tmp_path / "replica", options=behind)
    with master, replica:
        redis = connect(master.url, "test")
        try:

            async def attached() -> bool:
                return bool(await redis.set("probe", 1) and await redis.execute_command("WAIT", 1, 100) == 1)  # type: ignore[no-untyped-call]

            await wait_until(attached, 30)
            await redis.delete("probe")
            yield Pair(master, replica, redis)
        finally:
            await redis.aclose()
            replica.kill()
            master.kill()


async def test_what_is_promised_is_on_the_replica(pair: Pair) -> None:
    """A task, a checkpoint, an end. Everything else is written as ever, though the replica hangs."""
    log = pair.log()
    await submit(log)
    attempt = await claim(pair.redis)
    assert pair.heard == ["reached"]
    pair.hangs()
    try:
        assert (await log.append(attempt.hold, 1, [attempt.started(), attempt.output("x")])).replicated
        assert pair.heard == ["reached"]
        checkpoint = await log.append(attempt.hold, 3, [attempt.output("y")], [[Write("checkpoint", "", b"{}")]])
        assert not checkpoint.replicated
        assert not (await log.append(attempt.hold, 4, [attempt.complete()])).replicated
    finally:
        pair.goes_on()
    again = await log.append(attempt.hold, 4, [attempt.complete()])
    assert (again.duplicate, again.replicated) == (True, True)
    assert pair.heard == ["reached", "missed", "missed", "reached"]
    assert [entry.type for entry in await entries(pair.redis)][-2:] == ["output", "task_complete"]


async def test_what_was_written_on_another_connection_is_waited_for_too(pair: Pair) -> None:
    """WAIT alone would count at once on a connection that wrote nothing: a retry after a lost reply is such a one."""
    log = pair.log()
    await submit(log)
    pair.hangs()
    try:
        for _ in range(3):
            cancelled = Envelope("s1", "s1.abcdefghij").encode(TaskCancelled(by="test"))
            task_id = (await pair.redis.lrange(session_keys().tasks, 0, -1))[0].decode()  # type: ignore[misc]
            answer = await log.append_control(session_keys(), "cancel", [cancelled], task_id=task_id)
            assert not answer.replicated
            await pair.redis.connection_pool.disconnect()
    finally:
        pair.goes_on()
    assert pair.heard == ["reached", "missed", "missed", "missed"]


async def test_an_attempt_asks_again_while_it_can_make_good_a_loss(pair: Pair) -> None:
    """What it wrote is acknowledged when the replica has it."""
    log = pair.log()
    await submit(log)
    attempt = await claim(pair.redis)
    async with Publisher(log, attempt.hold, attempt.envelope) as writer:
        await writer.acknowledged(await writer.publish(attempt.started()))
        pair.hangs()
        try:
            ended = asyncio.create_task(writer.acknowledged(await writer.publish(attempt.complete())))
            await wait_until(lambda: pair.heard.count("missed") >= 2)
            assert not ended.done()
        finally:
            pair.goes_on()
        await ended
    assert pair.heard[-1] == "reached"


async def test_an_attempt_does_not_wait_for_ever_and_the_next_ones_hardly(pair: Pair) -> None:
    """A store without its replica is no standstill; as soon as it is there, it is waited for again."""
    log = pair.log(patience_s=0.5)
    for session_id in ("s1", "s2"):
        await submit(log, session_id)
    pair.hangs()
    try:
        took_s = []
        for session_id in ("s1", "s2"):
            attempt = await claim(pair.redis, session_id)
            started_at = monotonic()
            async with Publisher(log, attempt.hold, attempt.envelope) as writer:
                await writer.publish(attempt.started())
                await writer.publish(attempt.complete())
            took_s.append(monotonic() - started_at)
        assert took_s[0] >= 0.5
        assert took_s[1] < took_s[0]
    finally:
        pair.goes_on()
    await submit(log, "s3")
    assert pair.heard[-1] == "reached"
    pair.hangs()
    try:
        attempt = await claim(pair.redis, "s3")
        before = pair.heard.count("missed")
        async with Publisher(log, attempt.hold, attempt.envelope) as writer:
            await writer.publish(attempt.started())
            await writer.publish(attempt.complete())
        assert pair.heard.count("missed") - before >= 2
    finally:
        pair.goes_on()


async def test_a_task_that_no_replica_has_is_withdrawn_and_refused(pair: Pair) -> None:
    """Its client submits it again: it must not run twice. What was before it in its session is not touched."""
    async with running(ApiSettings(redis_url=pair.master.url, replica_acks=1)) as api:
        first = await api.submit(session_id="s1")
        pair.hangs()
        try:
            answer = await api.client.post("/api/tasks", json={"task": "hello", "session_id": "s1"})
            assert "withdrawn" in problem(answer, 503, "store_unavailable")["detail"]
            assert answer.headers["retry-after"]
        finally:
            pair.goes_on()
        second = await api.submit(session_id="s1")
        tasks = (await api.client.get("/api/tasks")).json()["data"]
        states = {task["id"]: task["state"] for task in tasks}
        assert (states.pop(first), states.pop(second), list(states.values())) == ("queued", "queued", ["cancelled"])
        (withdrawn,) = [entry for entry in await entries(pair.redis) if entry.type == "task_cancelled"]
        assert b'"by":"runcast"' in withdrawn.payload
        sample = api.state["metrics"].registry.get_sample_value
        assert sample("runcast_replica_acks_total", {"outcome": "missed"}) == 2.0


async def test_a_cancel_is_done_though_no_replica_has_it_yet(pair: Pair) -> None:
    """It is in the log: a refusal would be no truer. That it may be lost is counted."""
    async with running(ApiSettings(redis_url=pair.master.url, replica_acks=1)) as api:
        task_id = await api.submit(session_id="s1")
        pair.hangs()
        try:
            answer = await api.client.post(f"/api/tasks/{task_id}/cancel")
            assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
        finally:
            pair.goes_on()
        sample = api.state["metrics"].registry.get_sample_value
        assert sample("runcast_replica_acks_total", {"outcome": "missed"}) == 1.0
