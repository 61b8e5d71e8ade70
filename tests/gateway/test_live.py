"""The live path under faults: whatever becomes of publications, subscriber and store, every client ends with exactly
the log. Correctness rests on the repair; these tests take the publications away from it in every way."""

import asyncio
import random

import pytest
from redis.asyncio import Redis

from runcast_events.entry import Entry
from runcast_events.log import EventLog, LogLimits
from runcast_events.publisher import Publisher
from runcast_events.redis import connect
from runcast_local.store import Store
from tests.attempts import Attempt, claim, entries, session_keys, submit
from tests.conftest import wait_until
from tests.gateway.running import Client, Gateway, running_gateway
from tests.history import check_client, check_log, check_tasks

SESSION = "/stream/sessions/s1"
LOST = "EXISTS"
"""A command with PUBLISH's arguments that does nothing: the publication is lost."""


def publication(prev: str, batch: list[Entry]) -> bytes:
    """What the append script would publish for these entries."""
    lines = [f"{prev} {batch[-1].id} {batch[-1].at_ms}".encode()]
    for entry in batch:
        lines.append(f"{entry.id} {entry.type} {entry.task_id or '-'} {entry.fence} {entry.total_bytes}".encode())
        lines.append(entry.payload)
    return b"\n".join(lines)


async def follow(gateway: Gateway, count: int = 1) -> tuple[list[Client], list[asyncio.Task[None]]]:
    """Clients that read on until the task's terminal event, over one connection each."""
    clients = [Client(gateway.base, SESSION) for _ in range(count)]
    reading = [asyncio.create_task(client.read(until="task_complete", timeout_s=30)) for client in clients]
    await wait_until(lambda: all("connected" in client.events for client in clients))
    return clients, reading


async def check(redis: Redis, clients: list[Client]) -> None:
    log = await entries(redis)
    check_log(log)
    check_tasks(log)
    for client in clients:
        check_client(client.seen, log)
        assert "gap" not in client.events


async def test_publications_that_follow_are_delivered_without_a_read(
    redis: Redis, redis_url: str, started: Attempt
) -> None:
    """The normal case costs the store nothing beyond the append."""
    log = EventLog(redis)
    async with running_gateway(redis_url) as gateway:
        clients, reading = await follow(gateway, 3)
        await wait_until(lambda: all("task_started" in client.events for client in clients))
        for i in range(50):
            await started.append(log, started.output(str(i)))
        await started.append(log, started.complete())
        await asyncio.gather(*reading)
        stats = await gateway.stats()
        assert stats["publications"] == {"followed": 51, "changed": 0}
        assert stats["repairs"]["events"] == 0
        await check(redis, clients)


async def test_lost_publications_are_found_by_the_sweep(
    redis: Redis, redis_url: str, started: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when the last one is lost and nothing follows it."""
    monkeypatch.setattr("runcast_gateway.app.Hub.__init__.__kwdefaults__", {"sweep_s": 1.0})
    log = EventLog(redis, publish=LOST)
    async with running_gateway(redis_url) as gateway:
        clients, reading = await follow(gateway, 2)
        await wait_until(lambda: all("task_started" in client.events for client in clients))
        await started.append(log, started.output("a"), started.complete())
        await asyncio.gather(*reading)
        assert (await gateway.stats())["publications"]["followed"] == 0
        await check(redis, clients)


@pytest.mark.parametrize("seed", range(4))
async def test_publications_lost_doubled_reordered_and_forged_are_repaired(
    redis: Redis, redis_url: str, started: Attempt, seed: int
) -> None:
    """A channel that does everything wrong, and one honest publication at the end."""
    chance = random.Random(seed)
    silent, honest = EventLog(redis, publish=LOST), EventLog(redis)
    held: list[bytes] = []
    async with running_gateway(redis_url) as gateway:
        clients, reading = await follow(gateway, 2)
        for i in range(120):
            before = (await entries(redis))[-1].id
            await started.append(silent, *(started.output(f"{i}.{k}") for k in range(chance.randint(1, 3))))
            batch = [entry for entry in await entries(redis) if entry.id > before]
            held.append(publication(str(before), batch))
            match chance.choice(["now", "now", "lost", "twice", "later", "shuffled", "forged", "ids only"]):
                case "now":
                    await redis.publish(session_keys().events, held.pop())
                case "lost":
                    held.pop()
                case "twice":
                    for _ in range(2):
                        await redis.publish(session_keys().events, held[-1])
                case "shuffled":
                    chance.shuffle(held)
                    for data in held:
                        await redis.publish(session_keys().events, data)
                    held.clear()
                case "forged":
                    await redis.publish(session_keys().events, chance.randbytes(40))
                    n, prev = before.n + 1, str(before).encode()
                    forged = b"%b-%d" % (prev.partition(b"-")[0], n)
                    for last, head in [
                        (b"what", b"what output - 1 1"),
                        (forged, forged + b" \xff\xfe - 1 1"),
                        (forged, forged + b" output \xff 1 1"),
                        (b"9999999999999-7", b"9999999999999-7 output - 1 1"),
                        (b"\xd9\xa1-1", b"\xd9\xa1-1 output - 1 1"),
                    ]:
                        await redis.publish(session_keys().events, b"%b %b 1\n%b\n{}" % (prev, last, head))
                case "ids only":
                    await redis.publish(session_keys().events, held.pop().split(b"\n")[0])
        await started.append(honest, started.complete())
        await asyncio.gather(*reading)
        stats = await gateway.stats()
        assert stats["publications"]["changed"] > 0
        await check(redis, clients)


async def test_oversized_batches_are_read_from_the_log(redis: Redis, redis_url: str, started: Attempt) -> None:
    """Their publication carries ids only; entries of any size come in order."""
    log = EventLog(redis, LogLimits(publication_bytes=1024))
    async with running_gateway(redis_url) as gateway:
        clients, reading = await follow(gateway, 2)
        for i in range(30):
            await started.append(log, started.output("x" * 20_000), started.output(str(i)))
        await started.append(log, started.complete())
        await asyncio.gather(*reading)
        await check(redis, clients)


async def test_a_killed_subscriber_connects_again_and_misses_nothing(
    redis: Redis, redis_url: str, started: Attempt
) -> None:
    """Between its death and its return publications go nowhere."""
    log = EventLog(redis)
    async with running_gateway(redis_url) as gateway:
        clients, reading = await follow(gateway, 2)
        for kills in range(1, 4):
            await started.append(log, started.output(f"before {kills}"))
            await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            for i in range(10):
                await started.append(log, started.output(f"{kills}.{i}"))

            async def back(kills: int = kills) -> bool:
                return (await gateway.stats())["subscriber"] == {"connected": True, "reconnects": kills}

            await wait_until(back)
        await started.append(log, started.complete())
        await asyncio.gather(*reading)
        await check(redis, clients)


async def test_a_restarted_store_loses_no_client_and_no_event(own_store: Store) -> None:
    """kill -9 of the store in mid-stream, twice; what was acknowledged is in its file, and clients stay connected."""
    redis = connect(own_store.url, "test")
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    async with running_gateway(own_store.url) as gateway:
        clients, reading = await follow(gateway, 2)
        for i in range(30):
            if i % 12 == 6:
                own_store.kill()
                own_store.start()
            await attempt.append(log, attempt.output(str(i)))
        await attempt.append(log, attempt.complete())
        await asyncio.gather(*reading)
        await check(redis, clients)
        assert all(client.events.count("connected") == 1 for client in clients)
    await redis.aclose()


async def test_a_store_that_lost_its_tail_is_told_in_band(redis: Redis, redis_url: str, started: Attempt) -> None:
    """Restored from an older copy under a live client: one gap, at the break; what the log has there now follows."""
    log = EventLog(redis)
    copy = {key: await redis.dump(key) for key in await redis.keys("*") if b":operation:" not in key}
    async with running_gateway(redis_url) as gateway:
        clients, reading = await follow(gateway, 2)
        await started.append(log, started.output("lost"))
        await submit(log)  # another writer: its epoch is lost, the attempt's goes on below it
        await wait_until(lambda: all(client.events.count("task_queued") == 2 for client in clients))
        for key in await redis.keys("*"):
            if key in copy:
                await redis.restore(key, 0, copy[key], replace=True)
            elif b":operation:" not in key:
                await redis.delete(key)
        started.sequence -= 1
        await started.append(log, started.output("kept"), started.complete())
        await asyncio.gather(*reading)
        written = await entries(redis)
        check_log(written)
        for client in clients:
            assert client.events.count("gap") == 1
            assert client.data("gap")[0]["reason"] == "rewound"
            after_gap = client.seen[[seen.gap for seen in client.seen].index(True) + 1 :]
            assert [seen.payload for seen in after_gap] == [entry.payload for entry in written[-2:]]


async def test_an_attempt_that_lost_its_own_tail_sends_it_again_and_no_more(
    redis: Redis, redis_url: str, started: Attempt
) -> None:
    """The gap stands exactly at the break: what the log kept is not shown twice, what was lost comes anew."""
    log = EventLog(redis)
    async with (
        running_gateway(redis_url) as gateway,
        Publisher(log, started.hold, started.envelope) as writer,
    ):
        writer._ring.last = writer._ring.acknowledged = started.sequence
        clients, reading = await follow(gateway, 2)
        kept = [started.output(f"kept {i}") for i in range(50)]
        lost = [started.output(f"lost {i}") for i in range(5)]
        for event in kept:
            await writer.publish(event)
        await writer.acknowledged()
        copy = {key: await redis.dump(key) for key in await redis.keys("*") if b":operation:" not in key}
        for event in lost:
            await writer.publish(event)
        await writer.acknowledged()
        await wait_until(lambda: all(len(client.events) == 60 for client in clients))
        for key, value in copy.items():
            await redis.restore(key, 0, value, replace=True)
        await writer.publish(started.complete())
        await asyncio.gather(*reading)
    for client in clients:
        at = [seen.gap for seen in client.seen].index(True)
        assert client.events.count("gap") == 1
        assert [seen.payload for seen in client.seen[at + 1 : -1]] == [event.payload for event in lost]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("count", [50, pytest.param(200, marks=pytest.mark.full)])
async def test_clients_that_keep_dropping_end_with_exactly_the_log(
    redis: Redis, redis_url: str, started: Attempt, count: int
) -> None:
    """Each drops after 1 to 50 random events and comes back with its last id, until the task ends."""
    log = EventLog(redis)
    chance = random.Random(7)

    async def churn(client: Client) -> None:
        while "task_complete" not in client.events:
            await client.read(stop_after=chance.randint(1, 50), until="task_complete", timeout_s=60)

    async with running_gateway(redis_url) as gateway:
        clients = [Client(gateway.base, SESSION) for _ in range(count)]
        reading = [asyncio.create_task(churn(client)) for client in clients]
        for i in range(300):
            await started.append(log, started.output(str(i)))
            await asyncio.sleep(0)
        await started.append(log, started.complete())
        await asyncio.gather(*reading)
        await check(redis, clients)
        assert sum(client.events.count("connected") for client in clients) > 5 * count


@pytest.mark.timeout(120)
async def test_replay_racing_with_live_is_in_exact_order_twenty_times_of_twenty(
    redis: Redis, redis_url: str, started: Attempt
) -> None:
    """Clients that start from the beginning while a writer runs at full speed: no loss, no repeat at the seam."""
    log = EventLog(redis)
    done = asyncio.Event()

    async def write() -> None:
        i = 0
        while not done.is_set():
            await started.append(log, *(started.output(f"{i}.{k}") for k in range(5)))
            i += 1
        await started.append(log, started.complete())

    async with running_gateway(redis_url) as gateway:
        writing = asyncio.create_task(write())
        clients, reading = [], []
        for _ in range(20):
            client = Client(gateway.base, SESSION)
            clients.append(client)
            reading.append(asyncio.create_task(client.read(until="task_complete", timeout_s=90)))
            await wait_until(lambda c=client: "connected" in c.events)
        done.set()
        await writing
        await asyncio.gather(*reading)
        await check(redis, clients)
