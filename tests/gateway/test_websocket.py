"""A stream over a WebSocket: the same frames as server-sent events, each as a JSON message."""

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis
from websockets.exceptions import InvalidStatus

from runcast_events.codec import Envelope
from runcast_events.events import SessionDeleted
from runcast_events.ids import EventId
from runcast_events.log import EventLog, LogLimits
from runcast_gateway.dialects import ndjson
from runcast_gateway.routes.websocket import websocket
from runcast_gateway.transports.websocket import MESSAGES, DrainedWebSocket
from runcast_local.store import free_port
from runcast_service.websocket import SOCKET
from tests.attempts import claim, entries, session_keys, submit
from tests.conftest import wait_until
from tests.gateway.running import Gateway, ServerProtocol, running_gateway
from tests.gateway.talking import Talk
from tests.history import check_client
from tests.loglines import bad

SESSION = {"session_id": "s1"}
NEVER_S = 600.0


class ThroughSend(DrainedWebSocket):
    """A server that lets nobody write to its sockets."""

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        self.scope["extensions"].pop(SOCKET)  # type: ignore[union-attr]


@pytest.fixture(params=[DrainedWebSocket, ThroughSend], ids=["the socket", "through send"])
def ws(request: pytest.FixtureRequest) -> ServerProtocol:
    protocol: ServerProtocol = request.param
    return protocol


async def refused(talk: Talk) -> tuple[int, str]:
    """Status and code of the problem document that the handshake is answered with."""
    with pytest.raises(InvalidStatus) as error:
        async with talk.connected():
            pass
    response = error.value.response
    assert response.headers["content-type"] == "application/problem+json"
    assert response.body is not None
    return response.status_code, json.loads(response.body)["code"]


async def live(gateway: Gateway) -> object:
    return (await gateway.stats())["live"]


def test_a_control_frame_has_its_name_as_a_member() -> None:
    """As a gap in the api's NDJSON history; position first, like an event's id."""
    frame = ndjson.control("connected", {"session_id": "s1"}, EventId(5, 3), 2000)
    assert frame == b'{"id":"5-3","connected":{"session_id":"s1"},"retry":2000}\n'
    assert ndjson.control("draining", {"reason": "a\nb"}) == b'{"draining":{"reason":"a\\nb"}}\n'


def test_messages_are_framed_by_their_lengths() -> None:
    """A header of 2, 4 or 10 bytes; no line, no message."""
    headers = {1: "8101", 125: "817d", 126: "817e007e", 65535: "817effff", 65536: "817f0000000000010000"}
    for size, header in headers.items():
        assert MESSAGES.frame(b"x" * size + b"\n") == bytes.fromhex(header) + b"x" * size
    assert MESSAGES.frame(b"a\nb\n") == b"\x81\x01a\x81\x01b"
    assert MESSAGES.frame(b"") == b""


async def test_replay_and_then_the_present_are_exactly_the_log(
    redis: Redis, redis_url: str, ws: type[asyncio.Protocol]
) -> None:
    """Payloads are the log's own bytes behind the id; what was there comes first, what comes is not missed."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), *(attempt.output(f"{i} é\u2028\r\n") for i in range(300)))
    async with running_gateway(redis_url, ws=ws) as gateway:
        clients = [Talk(gateway.base, SESSION) for _ in range(5)]
        reading = [asyncio.create_task(client.read(until="task_complete")) for client in clients]
        await wait_until(lambda: all("connected" in client.names for client in clients))
        for i in range(100):
            await attempt.append(log, attempt.output(f"live {i}"), attempt.output("\n"))
        await attempt.append(log, attempt.complete())
        await asyncio.gather(*reading)
        for client in clients:
            check_client(client.seen, await entries(redis))
            first = client.frames[0]
            assert (first["id"], first["connected"]["session_id"]) == ("0-0", "s1")
            assert first["retry"] >= 100


async def test_a_client_that_drops_and_comes_back_misses_and_repeats_nothing(
    redis: Redis, redis_url: str, ws: type[asyncio.Protocol]
) -> None:
    """At every single event: drop right after it, come back with its id."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), *(attempt.output(str(i)) for i in range(5)), attempt.complete())
    async with running_gateway(redis_url, ws=ws) as gateway:
        client = Talk(gateway.base, SESSION)
        for _ in range(10):
            await client.read(stop_after=1)
        check_client(client.seen, await entries(redis))


async def test_a_task_stream_ends_with_the_task(redis: Redis, redis_url: str, ws: ServerProtocol) -> None:
    """`end`, then the close code of a normal end; whoever comes back from there is told so again. A filter hides no
    control frame."""
    log = EventLog(redis)
    task_id = await submit(log)
    async with running_gateway(redis_url, ws=ws) as gateway:
        client = Talk(gateway.base, {"task_id": task_id})
        some = Talk(gateway.base, {"task_id": task_id, "types": "output"})
        reading = [asyncio.create_task(each.read()) for each in (client, some)]
        await wait_until(lambda: "connected" in client.names and "connected" in some.names)
        attempt = await claim(redis)
        await attempt.append(log, attempt.started(), attempt.output("a"), attempt.complete())
        await asyncio.gather(*reading)
        assert client.names == [
            *("connected", "message_added", "task_queued", "task_started", "output", "task_complete", "end")
        ]
        assert client.frames[-1]["id"] == client.frames[-2]["id"]
        assert some.names == ["connected", "output", "cursor", "end"]
        assert client.code == some.code == 1000
        await client.read()
        assert (client.names[-2:], client.code) == (["connected", "end"], 1000)
        assert await refused(Talk(gateway.base, {"task_id": "s1.zzzzzzzzzz"})) == (404, "not_found")


async def test_a_deleted_session_ends_its_streams(redis: Redis, redis_url: str) -> None:
    """Who was there and who comes back are told the same."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), attempt.complete())
    async with running_gateway(redis_url) as gateway:
        client = Talk(gateway.base, SESSION)
        reading = asyncio.create_task(client.read())
        await wait_until(lambda: "task_complete" in client.names)
        await log.append_control(session_keys(), "op", [Envelope("s1").encode(SessionDeleted())])
        await reading
        assert (client.names[-2:], client.code) == (["session_deleted", "end"], 1000)
        await client.read()
        assert (client.names[-2:], client.code) == (["connected", "end"], 1000)


@pytest.mark.parametrize("cursor", ["0-0", "future"])
async def test_a_gap_stands_exactly_at_the_break(redis: Redis, redis_url: str, cursor: str) -> None:
    """A log that was trimmed, a cursor of another log."""
    log = EventLog(redis, LogLimits(max_entries=20))
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started(), *(attempt.output(str(i)) for i in range(40)), attempt.complete())
    tail = (await entries(redis))[-1].id
    async with running_gateway(redis_url) as gateway:
        client = Talk(gateway.base, SESSION, cursor=cursor if cursor == "0-0" else str(EventId(tail.epoch + 5, 1)))
        await client.read(until="gap" if cursor == "future" else "task_complete")
        (gap,) = [frame["gap"] for frame in client.frames if "gap" in frame]
        assert gap["reason"] == ("unknown_cursor" if cursor == "future" else "trimmed")
        assert gap["snapshot_url"] == "/api/sessions/s1"
        check_client(client.seen, await entries(redis))


async def test_what_is_asked_wrongly_is_told_before_the_handshake(redis: Redis, redis_url: str) -> None:
    """As a problem document, by the same rules as for server-sent events."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url) as gateway:
        for params, code in [
            ({}, "invalid_query"),
            (SESSION | {"task_id": "s1.aaaaaaaaaa"}, "invalid_query"),
            (SESSION | {"cursor": "latest"}, "invalid_query"),
            (SESSION | {"last_event_id": "$"}, "invalid_cursor"),
            (SESSION | {"types": "nonsense"}, "invalid_filter"),
            ({"session_id": "a b"}, "invalid_id"),
            ({"task_id": "nonsense"}, "invalid_id"),
        ]:
            assert await refused(Talk(gateway.base, params)) == (400, code), params
        assert await refused(Talk(gateway.base + "/more", SESSION)) == (404, "not_found")
        async with httpx2.AsyncClient() as http:
            answer = await http.get(f"{gateway.base}/stream/ws", params=SESSION)
            assert (answer.status_code, answer.json()["code"]) == (426, "upgrade_required")
        assert (await gateway.stats())["connections"] == 0
    await redis.flushdb()


async def test_pages_of_strangers_are_refused(redis: Redis, redis_url: str) -> None:
    """A browser lets any page open a WebSocket; what such a page says would be taken for the user's word."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url, origins="https://console.example,http://other:81") as gateway:
        own = gateway.base
        for origin in ("https://evil.example", "null", own + ".evil.example", "https://console.example.evil"):
            assert await refused(Talk(own, SESSION, headers={"Origin": origin})) == (403, "foreign_origin"), origin
        for origin in (own, own.replace("http", "https"), "https://CONSOLE.example", "http://other:81"):
            await Talk(own, SESSION, headers={"Origin": origin}).read(until="task_queued")
    await redis.flushdb()


async def test_a_drain_tells_every_client_to_come_back(
    redis: Redis, redis_url: str, ws: type[asyncio.Protocol]
) -> None:
    """`draining`, and the close code that says the same; new clients are sent elsewhere."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url, ws=ws) as gateway:
        clients = [Talk(gateway.base, SESSION) for _ in range(5)]
        reading = [asyncio.create_task(client.read()) for client in clients]
        await wait_until(lambda: all("task_queued" in client.names for client in clients))
        gateway.drain.set()
        await asyncio.gather(*reading)
        assert {(client.names[-1], client.code) for client in clients} == {("draining", 1012)}
        assert await refused(Talk(gateway.base, SESSION)) == (503, "draining")
    await redis.flushdb()


async def test_sigterm_drains_websockets_one_by_one(redis: Redis, redis_url: str) -> None:
    """A real process: its server, told to stop, leaves the open connections to the drain."""
    await submit(EventLog(redis))
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RUNCAST_")}
    ours = {"RUNCAST_REDIS_URL": redis_url, "RUNCAST_PORT": str(port), "RUNCAST_DRAIN_S": "1"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "runcast_gateway"), env=inherited | ours, stderr=asyncio.subprocess.PIPE
    )
    try:
        base = f"http://127.0.0.1:{port}"
        await wait_until(lambda: _healthy(base))
        clients = [Talk(base, SESSION) for _ in range(20)]
        ended: list[float] = []

        async def read(client: Talk) -> None:
            await client.read()
            ended.append(asyncio.get_running_loop().time())

        reading = [asyncio.create_task(read(client)) for client in clients]
        await wait_until(lambda: all("task_queued" in client.names for client in clients))
        process.terminate()
        await asyncio.gather(*reading)
        assert {(client.names[-1], client.code) for client in clients} == {("draining", 1012)}
        assert max(ended) - min(ended) > 0.3, "they come back all at once"
        _, logged = await asyncio.wait_for(process.communicate(), 10)
        assert process.returncode == -signal.SIGTERM
        assert not bad(logged.splitlines())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    await redis.flushdb()


async def _healthy(base: str) -> bool:
    async with httpx2.AsyncClient() as http:
        try:
            return (await http.get(f"{base}/health")).is_success
        except httpx2.TransportError:
            return False


async def test_a_full_gateway_refuses_until_there_is_room(redis: Redis, redis_url: str) -> None:
    """WebSockets count among the streams."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url, max_streams=2, max_streams_per_principal=1) as gateway:
        async with Talk(gateway.base, SESSION).connected():
            assert await refused(Talk(gateway.base, SESSION)) == (429, "principal_full")
        await wait_until(lambda: _empty(gateway))
        await Talk(gateway.base, SESSION).read(until="task_queued")
    async with running_gateway(redis_url, max_streams=1) as gateway, Talk(gateway.base, SESSION).connected():
        assert await refused(Talk(gateway.base, SESSION)) == (503, "process_full")
    await redis.flushdb()


async def _empty(gateway: Gateway) -> bool:
    stats = await gateway.stats()
    return (stats["connections"], stats["channels"]) == (0, 0)


async def test_a_slow_client_leaves_the_live_set_and_rejoins_at_the_exact_event(
    redis: Redis, redis_url: str, ws: type[asyncio.Protocol]
) -> None:
    """What it does not take stays in the log; the others are not held up."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    async with running_gateway(redis_url, ws=ws, send_timeout_s=20) as gateway:
        fast, slow = Talk(gateway.base, SESSION), Talk(gateway.base, SESSION)
        reading = asyncio.create_task(fast.read(until="task_complete", timeout_s=40))
        await wait_until(lambda: "task_started" in fast.names)
        async with slow.connected(receive_bytes=4096):
            await slow.go_on(until="task_started")
            await wait_until(lambda: _live(gateway, 2))
            written = 0
            while await live(gateway) == 2:
                await attempt.append(log, *(attempt.output("x" * 30_000) for _ in range(5)))
                written += 5
                assert written < 2000, "whatever it does not take is held for it"
            await slow.go_on(stop_after=written)
            await wait_until(lambda: _live(gateway, 2))
            await attempt.append(log, attempt.output("live again"), attempt.complete())
            await slow.go_on(until="task_complete")
        await reading
        for client in (fast, slow):
            check_client(client.seen, await entries(redis))
            assert "gap" not in client.names


async def _live(gateway: Gateway, count: int) -> bool:
    return await live(gateway) == count


async def test_a_client_that_takes_nothing_is_cut_after_the_send_timeout(
    redis: Redis, redis_url: str, ws: type[asyncio.Protocol]
) -> None:
    """With what was buffered for it: a server that first flushed that would wait for ever."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    async with running_gateway(redis_url, ws=ws, send_timeout_s=1, heartbeat_s=NEVER_S) as gateway:
        client = Talk(gateway.base, SESSION)
        async with client.connected(receive_bytes=4096):
            for _ in range(150):
                await attempt.append(log, *(attempt.output("x" * 30_000) for _ in range(4)))
            await wait_until(lambda: _empty(gateway), timeout_s=15)
            client.ws.transport.abort()
    await redis.flushdb()


async def test_an_idle_stream_is_kept_alive_by_pings_alone(redis: Redis, redis_url: str) -> None:
    """No message stands for a heartbeat: a program would have to know what to leave out."""
    await submit(EventLog(redis))
    async with running_gateway(redis_url, heartbeat_s=0.2) as gateway, AsyncExitStack() as open_streams:
        client = Talk(gateway.base, SESSION)
        await open_streams.enter_async_context(client.connected())
        pings = []
        client.ws.protocol.logger = _Listening(pings)
        client.ws.protocol.debug = True
        await client.go_on(until="task_queued")
        await wait_until(lambda: len(pings) >= 3)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.ws.recv(), 0.1)
    await redis.flushdb()


class _Listening:
    """A logger, which is where the client library tells of pings."""

    def __init__(self, pings: list[str]) -> None:
        self.pings = pings

    def debug(self, message: str, *values: object) -> None:
        if "PING" in message % values and message.startswith("<"):
            self.pings.append(message)

    info = warning = error = debug


async def test_a_server_that_cannot_refuse_by_http_closes_with_a_code_that_says_why() -> None:
    """The refusal over HTTP is an extension of ASGI; the reason of a close is short."""
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/stream/other", "headers": [], "query_string": b"", "state": {}}
    await websocket(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]
    assert (sent[1]["code"], sent[1]["reason"]) == (1008, "not_found: WebSockets are at /stream/ws")
