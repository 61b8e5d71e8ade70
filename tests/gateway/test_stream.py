"""The stream over HTTP: replay, tail, ends, gaps, filters, heartbeats, and what is refused."""

import asyncio
import json
import socket
import sys
from pathlib import Path

import httpx2
import pytest
from redis.asyncio import Redis

from runcast_events.codec import Envelope
from runcast_events.events import SessionDeleted
from runcast_events.ids import START, EventId
from runcast_events.keys import Keyspace
from runcast_events.log import EventLog, LogLimits
from runcast_events.publisher import Publisher
from runcast_events.reader import LogReader
from runcast_gateway.streams.batch import portions
from runcast_gateway.streams.filter import EVERYTHING
from runcast_gateway.streams.replay import WRITE_BYTES, Replay
from runcast_gateway.streams.target import Target
from runcast_tasks.record import Records
from tests.attempts import claim, entries, session_keys, submit
from tests.conftest import wait_until
from tests.gateway.running import Client, running_gateway, status_of
from tests.history import check_client

SESSION = "/stream/sessions/s1"
ESTABLISHED = "01"


def tcp_state(local: int, remote: int) -> str | None:
    """The kernel's state of a loopback connection, seen from its `local` port; None: there is none (any more)."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, here, there, state, *_ = line.split()
        if here.endswith(f":{local:04X}") and there.endswith(f":{remote:04X}"):
            return state
    return None


async def test_an_open_stream_shows_a_task_from_its_first_event_to_its_last(redis: Redis, redis_url: str) -> None:
    """A client that waited before the session existed misses nothing."""
    log = EventLog(redis)
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, SESSION)
        reading = asyncio.create_task(client.read(until="task_complete"))
        await wait_until(lambda: "connected" in client.events)
        await submit(log)
        attempt = await claim(redis)
        await attempt.append(log, attempt.started(), attempt.output("a"))
        await attempt.append(log, attempt.output("b"), attempt.complete())
        await reading
        check_client(client.seen, await entries(redis))
        assert client.blocks[0][:2] == ("connected", "0-0")


async def test_a_client_that_drops_and_comes_back_misses_and_repeats_nothing(redis: Redis, redis_url: str) -> None:
    """At every single event: drop right after it, come back with its id."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), *(attempt.output(str(i)) for i in range(5)), attempt.complete())
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, SESSION)
        for _ in range(10):
            await client.read(stop_after=1)
        check_client(client.seen, await entries(redis))


async def test_a_task_stream_ends_with_the_task_and_then_stops_eventsource(redis: Redis, redis_url: str) -> None:
    """`end` carries the terminal id; a reconnect from there is 204; an unknown task is 404."""
    log = EventLog(redis)
    other = await submit(log)
    first = await claim(redis)
    await first.append(log, first.started(), first.complete())
    task_id = await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), attempt.output("a"), attempt.complete())
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, f"/stream/tasks/{task_id}")
        await client.read()
        assert client.events == [
            *("connected", "message_added", "task_queued", "task_started", "output", "task_complete", "end")
        ]
        assert client.blocks[-1][1] == client.blocks[-2][1]
        await client.read()
        assert client.status == 204
        other_client = Client(gateway.base, f"/stream/tasks/{other}", params={"types": "task_complete"})
        await other_client.read()
        assert other_client.events == ["connected", "task_complete", "end"]
        missing = await status_of(gateway, "/stream/tasks/s1.zzzzzzzzzz")
        assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


async def test_a_hidden_terminal_event_still_ends_a_task_stream(redis: Redis, redis_url: str) -> None:
    """Filters hide events, never control frames: `cursor`, then `end`."""
    log = EventLog(redis)
    task_id = await submit(log)
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, f"/stream/tasks/{task_id}", params={"types": "output"})
        reading = asyncio.create_task(client.read())
        await wait_until(lambda: "connected" in client.events)
        attempt = await claim(redis)
        await attempt.append(log, attempt.started(), attempt.output("a"), attempt.complete())
        await reading
        assert client.events == ["connected", "output", "cursor", "end"]
        assert client.cursor == str((await entries(redis))[-1].id)


async def test_filters_keep_the_cursor_moving(redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When filters hid events for a while, a `cursor` block tells the client where it stands."""
    monkeypatch.setattr("runcast_gateway.streams.group.CURSOR_EVERY_S", 0.5)
    log = EventLog(redis)
    await submit(log)
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, SESSION, params={"types": "task_complete"})
        await client.read(until="cursor")
        assert client.cursor == str((await entries(redis))[-1].id)
    await redis.flushdb()


async def test_latest_skips_the_past(redis: Redis, redis_url: str) -> None:
    """And only that: the next event is shown."""
    log = EventLog(redis)
    await submit(log)
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, SESSION, params={"last_event_id": "latest"})
        reading = asyncio.create_task(client.read(until="task_complete"))
        await wait_until(lambda: "connected" in client.events)
        attempt = await claim(redis)
        await attempt.append(log, attempt.started(), attempt.complete())
        await reading
        assert client.events == ["connected", "task_started", "task_complete"]


@pytest.mark.parametrize("cursor", ["0-0", "middle", "future"])
async def test_a_trimmed_log_and_a_foreign_cursor_are_told_in_band(redis: Redis, redis_url: str, cursor: str) -> None:
    """A gap stands exactly at the break, once, with the position from which the stream goes on."""
    log = EventLog(redis, LogLimits(max_entries=20))
    await submit(log)
    early = (await entries(redis))[1].id
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), *(attempt.output(str(i)) for i in range(40)), attempt.complete())
    tail = (await entries(redis))[-1].id
    start = {"0-0": "0-0", "middle": str(early), "future": str(EventId(tail.epoch + 5, 1))}[cursor]
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, SESSION, cursor=start)
        await client.read(until="gap" if cursor == "future" else "task_complete")
        (gap,) = client.data("gap")
        assert gap["from"] == start
        assert gap["snapshot_url"] == "/api/sessions/s1"
        assert gap["reason"] == ("unknown_cursor" if cursor == "future" else "trimmed")
        check_client(client.seen, await entries(redis))


async def test_a_deleted_session_ends_its_streams_and_is_204_afterwards(redis: Redis, redis_url: str) -> None:
    """Who was there sees session_deleted and `end`; who comes back is told to stop."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), attempt.complete())
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, SESSION)
        reading = asyncio.create_task(client.read())
        await wait_until(lambda: "task_complete" in client.events)
        await log.append_control(session_keys(), "op", [Envelope("s1").encode(SessionDeleted())])
        await reading
        assert client.events[-2:] == ["session_deleted", "end"]
        await client.read()
        assert client.status == 204


async def test_bad_requests_are_refused_before_the_stream_starts(redis: Redis, redis_url: str) -> None:
    """A clear 400 as problem+json; nothing is replayed."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url) as gateway:
        for path, headers, code in [
            (SESSION, {"Last_Event_ID": "1-1-1"}, "invalid_cursor"),
            (SESSION + "?last_event_id=%24", {}, "invalid_cursor"),
            (SESSION + "?last_event_id=1-1%0A", {}, "invalid_cursor"),
            (SESSION + "?types=nonsense", {}, "invalid_filter"),
            (SESSION + "?after=latest", {}, "invalid_query"),
            ("/stream/tasks/s1.aaaaaaaaaa?task_id=s1.aaaaaaaaaa", {}, "invalid_query"),
            (SESSION + "?task_id=s2.aaaaaaaaaa", {}, "invalid_filter"),
            ("/stream/sessions/a%20b", {}, "invalid_id"),
            ("/stream/sessions/" + "x" * 65, {}, "invalid_id"),
            ("/stream/tasks/nonsense", {}, "invalid_id"),
        ]:
            answer = await status_of(gateway, path, **headers)
            assert (answer.status_code, answer.json()["code"]) == (400, code), path
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await status_of(gateway, "/stream/nothing")).status_code == 404
    await redis.flushdb()


async def test_head_answers_what_a_get_would_and_ends(redis: Redis, redis_url: str) -> None:
    """The headers of a stream, or the status of a refusal."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url) as gateway, httpx2.AsyncClient() as http:
        answer = await http.head(gateway.base + SESSION)
        assert answer.status_code == 200
        for name, value in {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store, no-transform",
            "x-accel-buffering": "no",
            "connection": "close",
        }.items():
            assert answer.headers[name] == value
        assert "content-length" not in answer.headers
        assert (await http.head(gateway.base + "/stream/sessions/a%20b")).status_code == 400
        assert (await http.head(gateway.base + "/stream/tasks/s1.zzzzzzzzzz")).status_code == 404
    await redis.flushdb()


async def test_a_silent_stream_is_kept_alive_by_bare_comments(redis: Redis, redis_url: str) -> None:
    """`:` and a line end, no blank line; the first block tells how long to wait before a reconnect."""
    async with (
        running_gateway(redis_url, heartbeat_s=0.5) as gateway,
        httpx2.AsyncClient(timeout=10) as http,
        http.stream("GET", gateway.base + SESSION, headers={"accept-encoding": "identity"}) as response,
    ):
        received = b""
        async for chunk in response.aiter_raw():
            received += chunk
            if received.endswith(b":\n:\n"):
                break
        first, _, rest = received.partition(b"\n\n")
        assert first.startswith(b"retry: ")
        assert rest == b":\n:\n"


async def test_a_drain_tells_every_client_to_come_back(redis: Redis, redis_url: str) -> None:
    """Streams end cleanly, spread over the drain time; new ones are asked to return."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url) as gateway:
        clients = [Client(gateway.base, SESSION) for _ in range(5)]
        reading = [asyncio.create_task(client.read()) for client in clients]
        await wait_until(lambda: all("task_queued" in client.events for client in clients))
        gateway.drain.set()
        await asyncio.gather(*reading)
        assert all(client.events[-1] == "draining" for client in clients)
        late = await status_of(gateway, SESSION)
        assert (late.status_code, late.text.startswith("retry: ")) == (200, True)
    await redis.flushdb()


async def test_what_a_client_left_behind_is_cleaned_up(redis: Redis, redis_url: str) -> None:
    """After clients left, no connection and no channel remains, but the audit's own."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url) as gateway:
        await asyncio.gather(
            *(Client(gateway.base, f"/stream/sessions/s{i % 3}").read(until="connected") for i in range(9))
        )

        async def idle() -> bool:
            stats = await gateway.stats()
            return (stats["connections"], stats["channels"]) == (0, 0)

        await wait_until(idle)
        subscribed = await redis.execute_command("PUBSUB", "CHANNELS", "runcast:{default:*")
        assert subscribed == []
    await redis.flushdb()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the kernel's connection table")
async def test_a_client_that_takes_nothing_is_dropped_after_the_send_timeout(redis: Redis, redis_url: str) -> None:
    """Its socket is full: the connection goes, with what it buffers; the log keeps what was not taken."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    async with running_gateway(redis_url, send_timeout_s=1) as gateway:
        host, port = gateway.base.removeprefix("http://").split(":")
        client = socket.create_connection((host, int(port)))
        client.sendall(f"GET {SESSION} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        for _ in range(300):
            await attempt.append(log, *(attempt.output("x" * 30_000) for _ in range(2)))

        async def closed() -> bool:
            return (await gateway.stats())["connections"] == 0

        await wait_until(closed, timeout_s=15)
        # Not waiting to flush its buffer to somebody who does not read: the server's side is no longer established.
        await wait_until(lambda: tcp_state(int(port), client.getsockname()[1]) != ESTABLISHED, timeout_s=2)
        client.close()
    await redis.flushdb()


async def test_large_events_are_read_and_written_in_small_portions(redis: Redis, redis_url: str) -> None:
    """What a client that stops reading makes us hold is bounded, whatever the size of its events."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(
        log, attempt.started(), *(attempt.output("x" * 60_000) for _ in range(150)), attempt.complete()
    )
    reader = LogReader(redis)
    replay = Replay(Target(session_keys(), "s1", EVERYTHING), reader, Records(redis, Keyspace(), "default"))
    cursor, sizes = START, []
    last = (await entries(redis))[-1].id
    while cursor != last:
        step = await replay.read(cursor, last)
        assert step.gap is None
        cursor = step.batch.cursor
        sizes.append(sum(map(len, step.batch.frames)))
    assert max(sizes) < WRITE_BYTES + 65_536
    assert sum(sizes) > 150 * 60_000
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, SESSION)
        await client.read(until="task_complete")
        check_client(client.seen, await entries(redis))


async def test_a_task_stream_ends_even_when_its_end_was_trimmed_away(redis: Redis, redis_url: str) -> None:
    """Who waits for a task whose terminal event is no longer in the log is not left waiting."""
    log = EventLog(redis, LogLimits(max_entries=20))
    task_id = await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), attempt.complete())
    for _ in range(3):
        await submit(log)
        other = await claim(redis)
        await other.append(log, other.started(), *(other.output("x") for _ in range(15)), other.complete())
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, f"/stream/tasks/{task_id}")
        await client.read(timeout_s=5)
        assert client.events == ["connected", "gap", "end"]


async def test_a_task_stream_outlives_a_store_that_lost_everything(redis: Redis, redis_url: str) -> None:
    """The attempt puts its task back from memory, and the client that waits for its end sees it."""
    log = EventLog(redis)
    task_id = await submit(log)
    attempt = await claim(redis)
    async with (
        running_gateway(redis_url) as gateway,
        Publisher(log, attempt.hold, attempt.envelope) as writer,
    ):
        await writer.acknowledged(await writer.publish(attempt.started()))
        client = Client(gateway.base, f"/stream/tasks/{task_id}")
        reading = asyncio.create_task(client.read(timeout_s=25))
        await wait_until(lambda: "task_started" in client.events)
        await redis.flushdb()
        await wait_until(lambda: "gap" in client.events, timeout_s=20)
        await writer.publish(attempt.complete())
        await reading
    assert client.events[-3:] == ["task_started", "task_complete", "end"]


def test_what_is_written_at_once_is_small() -> None:
    """A slow client that reads has the send timeout for each portion, not for everything that waits."""
    frames = [b"x" * size for size in (10, 60_000, 10_000, 100_000, 5)]
    written = list(portions(frames))
    assert b"".join(written) == b"".join(frames)
    assert [len(portion) for portion in written] == [60_010, 10_000, 100_000, 5]


async def test_the_payload_is_the_logs_own_bytes(redis: Redis, redis_url: str) -> None:
    """What the writer encoded is what the client gets, unparsed."""
    log = EventLog(redis)
    await submit(log)
    async with running_gateway(redis_url) as gateway:
        client = Client(gateway.base, SESSION)
        await client.read(until="task_queued")
    written = await entries(redis)
    assert [json.dumps(data) for _, _, data in client.blocks[1:]] == [
        json.dumps(json.loads(e.payload)) for e in written
    ]
    check_client(client.seen, written)
    await redis.flushdb()
