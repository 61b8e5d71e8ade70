"""Commands over a WebSocket: forwarded to a real api, in order, each answered; what it cannot be is told."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from runcast_events.log import EventLog
from runcast_gateway.commands.conversation import WAITING
from runcast_local.store import free_port
from runcast_service.server import SideServer
from tests.attempts import claim, entries, requests, submit
from tests.conftest import wait_until
from tests.gateway.running import Gateway, running_gateway
from tests.gateway.talking import Talk, running_api
from tests.history import check_client

SESSION = {"session_id": "s1"}


@pytest.fixture
async def gateway(redis: Redis, redis_url: str) -> AsyncIterator[Gateway]:
    """With an api behind it."""
    async with running_api(redis_url) as api, running_gateway(redis_url, api_url=api) as gateway:
        yield gateway
    await redis.flushdb()


class StandIn:
    """An api that writes down what it is asked, and answers as it is told; it waits for `go`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, str], Any]] = []
        self.go = asyncio.Event()
        self.go.set()
        self.answer: Response = JSONResponse({"ok": True}, 202)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        self.asked.append((request.url.path, dict(request.headers), json.loads(await request.body())))
        await self.go.wait()
        await self.answer(scope, receive, send)


@asynccontextmanager
async def standing_in(redis_url: str, **options: object) -> AsyncIterator[tuple[StandIn, Gateway]]:
    api = StandIn()
    async with (
        SideServer(api, "127.0.0.1", 0) as server,
        running_gateway(redis_url, api_url=f"http://127.0.0.1:{server.port}", **options) as gateway,
    ):
        try:
            yield api, gateway
        finally:
            api.go.set()


async def test_a_command_is_part_of_the_request_that_opened_its_socket(redis_url: str) -> None:
    """The api logs it under the same id, and what it leads to is in the same trace."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with standing_in(redis_url) as (api, gateway):
        for headers in ({"traceparent": traceparent, "X-Request-Id": "mine"}, {"traceparent": "none"}):
            client = Talk(gateway.base, SESSION, headers=headers)
            async with client.connected():
                await client.ask(request_id="1", type="submit", task="hello")
    (_, first, _), (_, second, _) = api.asked
    assert (first["traceparent"], first["x-request-id"]) == (traceparent, "mine")
    assert "traceparent" not in second
    assert len(second["x-request-id"]) == 16


async def test_a_task_is_submitted_and_cancelled_over_one_socket(redis: Redis, gateway: Gateway) -> None:
    """Its events come over the same one; the answers are the api's own."""
    client = Talk(gateway.base, SESSION)
    async with client.connected():
        accepted = await client.ask(request_id="1", type="submit", task="hello", metadata={"a": ["é", None]})
        assert accepted["status"] == 202
        task_id = accepted["body"]["task_id"]
        assert accepted["body"]["session_id"] == "s1"
        cancelled = await client.ask(request_id="2", type="cancel", task_id=task_id, reason="no longer needed")
        assert (cancelled["status"], cancelled["body"]["status"]) == (202, "cancelled")
        again = await client.ask(request_id="3", type="cancel", task_id=task_id)
        assert (again["status"], again["body"]["status"]) == (200, "ended")
        if "task_cancelled" not in client.names:
            await client.go_on(until="task_cancelled")
    assert client.names == ["connected", "session_created", "message_added", "task_queued", "task_cancelled"]
    assert client.frames[-1]["reason"] == "no longer needed"
    check_client(client.seen, await entries(redis))


async def test_every_command_reaches_its_task(redis: Redis, gateway: Gateway) -> None:
    """Pause, resume and input of a running task leave their requests; an approval that nobody asked for is a 404."""
    task_id = await submit(EventLog(redis))
    attempt = await claim(redis)
    await attempt.append(EventLog(redis), attempt.started())
    client = Talk(gateway.base, {"task_id": task_id})
    async with client.connected():
        paused = await client.ask(request_id="p", type="pause", task_id=task_id, reason="let me look")
        assert (paused["status"], paused["body"]["state"]) == (202, "running")
        assert (await requests(redis, task_id))["pause"]["reason"] == "let me look"
        assert (await client.ask(request_id="r", type="resume", task_id=task_id))["status"] == 202
        said = await client.ask(request_id="i", type="input", task_id=task_id, text="only Python", input_id="x1")
        assert (said["status"], said["body"]["code"]) == (422, "no_input")  # the demo agent has no model
        decided = await client.ask(
            request_id="a", type="approve", task_id=task_id, tool_call_id="1.0", decision="approved"
        )
        assert (decided["status"], decided["body"]["code"]) == (404, "not_found")


async def test_what_a_command_lacks_is_said(redis: Redis, gateway: Gateway) -> None:
    """By the gateway or by the api, in one form; the stream goes on and nothing was done."""
    task_id = await submit(EventLog(redis))
    client = Talk(gateway.base, SESSION)
    async with client.connected():
        for command, status, words in [
            ({"type": "submit"}, 422, "task"),
            ({"type": "submit", "task": "x", "agent": "nobody"}, 422, "unknown agent"),
            ({"type": "submit", "task": "x", "session_id": "s2"}, 422, "this stream is of the session s1"),
            ({"type": "submit", "task": "x", "idempotency_key": "a b\n"}, 422, "idempotency_key"),
            ({"type": "explode"}, 422, "'submit', 'cancel'"),
            ({"task_id": task_id}, 422, "type"),
            ({"type": "cancel"}, 422, "task_id"),
            ({"type": "cancel", "task_id": 7}, 422, "task_id"),
            ({"type": "cancel", "task_id": "../../x"}, 422, "expected <session id>"),
            ({"type": "cancel", "task_id": "s2.aaaaaaaaaa"}, 422, "not a task of the session s1"),
            ({"type": "cancel", "task_id": "s1.aaaaaaaaaa"}, 404, "s1.aaaaaaaaaa"),
            ({"type": "cancel", "task_id": task_id, "why": "x"}, 422, "why"),
            ({"type": "approve", "task_id": task_id, "decision": "approved"}, 422, "tool_call_id"),
            (
                {"type": "approve", "task_id": task_id, "tool_call_id": "..", "decision": "approved"},
                422,
                "tool_call_id",
            ),
            ({"type": "approve", "task_id": task_id, "tool_call_id": "9.9", "decision": "approved"}, 404, "9.9"),
            ({"type": "input", "task_id": task_id, "text": ""}, 422, "text"),
            ({"type": "resume", "task_id": task_id, "session_id": "s1"}, 202, ""),
        ]:
            answer = await client.ask(request_id="x", **command)
            client.responses.clear()
            assert answer["status"] == status, (command, answer)
            assert words in answer["body"].get("detail", ""), (command, answer)
            if status >= 400:
                assert answer["body"].keys() >= {"type", "title", "status", "code", "detail"}
        for message, code in [
            ("nonsense", "invalid_json"),
            ("[]", "invalid_command"),
            ("{}", "invalid_command"),
            ('{"request_id":7,"type":"cancel"}', "invalid_command"),
            ("[" * 100_000, "invalid_json"),
            ('{"request_id":NaN}', "invalid_json"),
            (b"{}", "invalid_json"),
        ]:
            await client.ws.send(message)
            await client.go_on(until="response")
            assert client.responses.pop(None)["body"]["code"] == code, message[:30]
    assert len(await entries(redis)) == 3


async def test_the_callers_credential_goes_along(redis: Redis, redis_url: str) -> None:
    """As the handshake had it, and nothing else of the handshake; the idempotency key is a header of its own."""
    async with standing_in(redis_url) as (api, gateway):
        client = Talk(gateway.base, SESSION, headers={"Authorization": "Bearer abc", "Cookie": "a=b", "X-Other": "1"})
        async with client.connected():
            await client.ask(request_id="1", type="submit", task="x", idempotency_key="k-1", params={"n": 2**70})
            await client.ask(request_id="2", type="approve", task_id="s1.aaaaaaaaaa", tool_call_id="1.20", x=1)
        async with Talk(gateway.base, SESSION).connected() as ws:
            await ws.send('{"request_id":"3","type":"cancel","task_id":"s1.aaaaaaaaaa"}')
            await wait_until(lambda: len(api.asked) == 3)
    (path, headers, body), (second, _, rest), (_, anonymous, _) = api.asked
    assert (path, body) == ("/api/tasks", {"task": "x", "params": {"n": 2**70}, "session_id": "s1"})
    assert (headers["authorization"], headers["idempotency-key"]) == ("Bearer abc", "k-1")
    assert not {"cookie", "x-other"} & headers.keys()
    assert (second, rest) == ("/api/tasks/s1.aaaaaaaaaa/approvals/1.20", {"x": 1})
    assert not {"authorization", "idempotency-key"} & anonymous.keys()


async def test_commands_are_forwarded_in_order_and_so_many_wait(redis: Redis, redis_url: str) -> None:
    """What is sent first is done first, whoever is slow; what is beyond the bound is refused at once, by name."""
    async with standing_in(redis_url) as (api, gateway):
        client = Talk(gateway.base, SESSION)
        async with client.connected() as ws:
            api.go.clear()
            for i in range(WAITING + 3):
                await ws.send(
                    json.dumps({"request_id": str(i), "type": "input", "task_id": "s1.aaaaaaaaaa", "text": i})
                )
            for i in range(WAITING, WAITING + 3):
                answer = await client.answer(str(i))
                assert (answer["status"], answer["body"]["code"]) == (429, "too_many_commands")
            api.go.set()
            for i in range(WAITING):
                assert (await client.answer(str(i)))["status"] == 202
            assert (await client.ask(request_id="more", type="submit", task="x"))["status"] == 202
    assert [body["text"] for _, _, body in api.asked[:-1]] == list(range(WAITING))


async def test_an_api_that_is_down_slow_or_none_at_all(
    redis: Redis, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says whether a command may have been done; the stream goes on, and so do commands afterwards."""
    monkeypatch.setattr("runcast_gateway.app.Api.__init__.__defaults__", (0.5,))
    port = free_port()
    async with running_gateway(redis_url, api_url=f"http://127.0.0.1:{port}") as gateway:
        client = Talk(gateway.base, SESSION)
        async with client.connected():
            down = await client.ask(request_id="1", type="submit", task="x")
            assert (down["status"], down["body"]["code"]) == (503, "api_unavailable")
            api = StandIn()
            async with SideServer(api, "127.0.0.1", port):
                api.go.clear()
                slow = await client.ask(request_id="2", type="submit", task="x")
                assert (slow["status"], slow["body"]["code"]) == (504, "api_timeout")
                api.go.set()
                for answer in (PlainTextResponse("<html>", 200), PlainTextResponse('"' + "x" * 300_000 + '"', 200)):
                    api.answer = answer
                    strange = await client.ask(request_id="3", type="submit", task="x")
                    client.responses.clear()
                    assert (strange["status"], strange["body"]["code"]) == (502, "upstream_unavailable")
            async with running_api(redis_url, port):
                assert (await client.ask(request_id="4", type="submit", task="x"))["status"] == 202
                await client.go_on(until="task_queued") if "task_queued" not in client.names else None
    await redis.flushdb()


async def test_a_command_that_ends_its_own_stream_is_still_answered(redis: Redis, redis_url: str) -> None:
    """The end of a task may be in the log before the api has answered its cancel."""
    log = EventLog(redis)
    task_id = await submit(log)
    async with standing_in(redis_url) as (api, gateway):
        client = Talk(gateway.base, {"task_id": task_id})
        async with client.connected() as ws:
            api.go.clear()
            await ws.send(json.dumps({"request_id": "1", "type": "cancel", "task_id": task_id}))
            await wait_until(lambda: bool(api.asked))
            attempt = await claim(redis)
            await attempt.append(log, attempt.started(), attempt.complete())
            await client.go_on(until="end")
            api.go.set()
            await client.go_on()
        assert client.responses["1"]["status"] == 202
        assert client.code == 1000


async def test_what_was_sent_before_leaving_is_forwarded(redis: Redis, redis_url: str) -> None:
    """A page that cancels and closes has cancelled."""
    async with standing_in(redis_url) as (api, gateway):
        api.go.clear()
        async with Talk(gateway.base, SESSION).connected() as ws:
            for i in range(3):
                await ws.send(json.dumps({"request_id": str(i), "type": "cancel", "task_id": "s1.aaaaaaaaaa"}))
            await wait_until(lambda: bool(api.asked))
        assert len(api.asked) == 1

        async def left() -> bool:
            return (await gateway.stats())["connections"] == 0

        await wait_until(left)
        api.go.set()
        await wait_until(lambda: len(api.asked) == 3)


async def test_what_was_sent_before_leaving_is_forwarded_while_events_flow(redis: Redis, redis_url: str) -> None:
    """Nonsense among it, too: that nobody can be told any more what was wrong keeps nothing from being done."""
    log = EventLog(redis)
    await submit(log)
    attempt = await claim(redis)
    await attempt.append(log, attempt.started())
    left = asyncio.Event()

    async def write() -> None:
        while not left.is_set():
            await attempt.append(log, *(attempt.output("x" * 100) for _ in range(20)))

    async with standing_in(redis_url) as (api, gateway):
        writing = asyncio.create_task(write())
        try:
            for _ in range(20):
                said = len(api.asked)
                async with Talk(gateway.base, SESSION | {"last_event_id": "latest"}).connected(read_ahead=None) as ws:
                    await ws.recv()
                    for i in range(5):
                        await ws.send("nonsense")
                        await ws.send(json.dumps({"request_id": str(i), "type": "cancel", "task_id": "s1.aaaaaaaaaa"}))
                await wait_until(lambda said=said: len(api.asked) == said + 5)
        finally:
            left.set()
            await writing
        assert (await gateway.stats())["connections"] == 0


async def test_a_message_that_is_too_large_closes_the_connection(redis: Redis, gateway: Gateway) -> None:
    """With the code that says so; one right at the limit is heard."""
    client = Talk(gateway.base, SESSION)
    async with client.connected() as ws:
        await ws.send(json.dumps({"request_id": "1", "type": "submit", "task": "x" * 190_000}))
        assert (await client.answer("1"))["status"] == 202
        await ws.send("x" * (256 * 1024 + 1))
        await client.go_on()
    assert client.code == 1009


texts = st.text(st.characters(codec="utf-8"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
commands = st.fixed_dictionaries(
    {},
    optional={
        "request_id": st.sampled_from(["1", "", "x" * 65]) | values,
        "type": st.sampled_from(["submit", "cancel", "pause", "resume", "approve", "input"]) | values,
        "task_id": st.sampled_from(["s1.aaaaaaaaaa", "s2.aaaaaaaaaa", "..", "s1.aaaaaaaaaa/x"]) | values,
        "session_id": st.sampled_from(["s1", "s2"]) | values,
        "tool_call_id": st.sampled_from(["1.0", ".", "../../x", "\ud800"]) | values,
        "idempotency_key": st.sampled_from(["k", "a\r\nb: c"]) | values,
        "task": values,
        "text": values,
        "decision": values,
        "arguments": values,
    },
)
messages = st.one_of(
    commands.map(json.dumps),
    values.map(json.dumps),
    texts,
    st.binary(max_size=40),
)


async def test_whatever_a_client_says_is_answered(
    redis: Redis, gateway: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    """Each message, by a response that is not an error of ours; nothing is logged as one."""
    await submit(EventLog(redis))
    loop = asyncio.get_running_loop()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(messages, min_size=1, max_size=5))
    def say(said: list[str | bytes]) -> None:
        asyncio.run_coroutine_threadsafe(_say(gateway, said), loop).result(20)

    await asyncio.to_thread(say)
    assert not [record.message for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


async def _say(gateway: Gateway, said: list[str | bytes]) -> None:
    client = Talk(gateway.base, SESSION | {"last_event_id": "latest"})
    async with client.connected() as ws:
        for message in said:
            await ws.send(message)
            await client.go_on(until="response")
            (answer,) = client.responses.values()
            client.responses.clear()
            assert answer["status"] < 500, (message, answer)
            assert answer["status"] < 300 or answer["body"]["code"], (message, answer)
