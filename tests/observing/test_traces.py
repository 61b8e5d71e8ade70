"""One trace from the request through the record, the log's events and every attempt to what a collector is sent."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from runcast_api.settings import ApiSettings
from runcast_events.codec import TRACED
from runcast_events.entry import Entry
from runcast_local.model import Call, Refusal, Stub, Turn, says
from runcast_worker.settings import WorkerSettings
from tests.api.running import Api
from tests.api.running import running as running_api
from tests.attempts import entries
from tests.gateway.running import Client as Watcher
from tests.gateway.running import running_gateway
from tests.observing.collector import Collector
from tests.observing.services import AGENTS
from tests.worker.conftest import client_of
from tests.worker.conftest import running as running_worker
from tests.workers import worker_process

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"
INTERNAL, SERVER, CLIENT = 1, 2, 3
CANARIES = ("canary prompt", "canary argument", "canary result", "canary answer", "canary-of-a-query")


@pytest.fixture
def settings(redis_url: str, base_url: str, tmp_path: Path, collector: Collector) -> dict[str, Any]:
    """Of a worker; the api takes what it knows of them."""
    agents = tmp_path / "agents.toml"
    agents.write_text(AGENTS)
    return {
        "redis_url": redis_url,
        "agents_file": agents,
        "workspaces": tmp_path / "workspaces",
        "llm_base_url": base_url,
        "reap_every_s": 0.1,
        "drain_s": 0,
        "otlp_endpoint": collector.url,
    }


@asynccontextmanager
async def submitting(settings: dict[str, Any]) -> AsyncIterator[Api]:
    shared = {name: settings[name] for name in ("redis_url", "agents_file", "otlp_endpoint") if name in settings}
    async with running_api(ApiSettings(**shared)) as api:
        yield api


def traces(log: Sequence[Entry], task_id: str) -> list[tuple[str, str | None]]:
    """Type and traceparent of a task's events."""
    return [(each.type, json.loads(each.payload).get("traceparent")) for each in log if each.task_id == task_id]


async def test_one_trace_goes_from_the_request_to_the_last_span(
    redis: Redis, redis_url: str, settings: dict[str, Any], collector: Collector, stub: Stub
) -> None:
    """The caller's. Attempt, model and tool are what OpenTelemetry calls them, and nothing that was said is told."""
    call = Call("shell", {"command": "echo canary' 'result # canary argument"})
    stub.scripts["mine"] = [
        Turn([call], input_tokens=10, output_tokens=5),
        Turn(says("canary answer"), input_tokens=20, output_tokens=7),
    ]
    headers = {"traceparent": TRACEPARENT}
    gateway = running_gateway(redis_url, otlp_endpoint=collector.url)
    async with submitting(settings) as api, running_worker(WorkerSettings(**settings), {}), gateway as streams:
        body = {"task": "canary prompt", "session_id": "s1", "agent": "llm"}
        answer = await api.client.post("/api/tasks?token=canary-of-a-query", json=body, headers=headers)
        task_id = answer.json()["task_id"]
        log = await client_of(redis).ended(task_id)
        shown = (await api.client.get(f"/api/tasks/{task_id}")).json()
        watcher = Watcher(streams.base, f"/stream/tasks/{task_id}")
        await watcher.read()
    (request,) = await collector.got("POST /api/tasks")
    (attempt,) = await collector.got("invoke_agent llm")
    models, (tool,) = await collector.got("chat mine", 2), await collector.got("execute_tool shell")
    assert (request.service, request.trace, request.parent, request.kind) == ("runcast-api", TRACE, CALLER, SERVER)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/tasks",
        "http.response.status_code": 202,
    }
    assert (attempt.service, attempt.trace, attempt.parent) == ("runcast-worker", TRACE, request.id)
    assert attempt.links == [(TRACE, request.id)]
    assert attempt.attributes == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.name": "llm",
        "gen_ai.conversation.id": "s1",
        "runcast.task.id": task_id,
        "runcast.attempt": 1,
        "runcast.outcome": "complete",
    }
    assert {(each.trace, each.parent, each.failed) for each in (*models, tool)} == {(TRACE, attempt.id, False)}
    assert [each.kind for each in (*models, tool)] == [CLIENT, CLIENT, INTERNAL]
    usage = [
        (each.attributes["gen_ai.usage.input_tokens"], each.attributes["gen_ai.usage.output_tokens"]) for each in models
    ]
    assert usage == [(10, 5), (20, 7)]
    assert {each.attributes["gen_ai.provider.name"] for each in models} == {"openai-compatible"}
    assert {each.attributes["gen_ai.conversation.id"] for each in (*models, tool)} == {"s1"}
    assert (tool.attributes["gen_ai.tool.call.id"], tool.attributes["gen_ai.tool.name"]) == ("1.0", "shell")
    for part in (*models, tool):
        assert attempt.began_ns <= part.began_ns <= part.ended_ns <= attempt.ended_ns

    assert request.is_of(shown["traceparent"])
    told = traces(log, task_id)
    assert {kind for kind, trace in told if trace is not None} == {"task_queued", "task_started", "task_complete"}
    assert request.is_of(dict(told)["task_queued"])
    assert all(attempt.is_of(dict(told)[kind]) for kind in ("task_started", "task_complete"))

    (replay,) = await collector.got("replay")
    assert (replay.service, replay.attributes["runcast.events"]) == ("runcast-gateway", len(told))
    sent = b"".join(collector.bodies)
    assert not [canary for canary in CANARIES if canary.encode() in sent]


async def test_a_replay_is_in_the_trace_of_who_asks_for_it(
    redis: Redis, redis_url: str, settings: dict[str, Any], collector: Collector
) -> None:
    """It is told when it is over: the stream stays open."""
    async with submitting(settings) as api, running_gateway(redis_url, otlp_endpoint=collector.url) as gateway:
        await api.submit(session_id="s1")
        async with httpx2.AsyncClient(base_url=gateway.base) as http:
            headers = {"traceparent": TRACEPARENT}
            async with http.stream("GET", "/stream/sessions/s1", headers=headers) as stream:
                assert stream.status_code == 200
                (replay,) = await collector.got("replay")
    assert (replay.trace, replay.parent) == (TRACE, CALLER)
    assert replay.attributes == {"gen_ai.conversation.id": "s1", "runcast.events": 3}
    await redis.flushdb()


async def test_the_trace_survives_the_death_of_a_worker(
    redis: Redis, settings: dict[str, Any], collector: Collector
) -> None:
    """The next attempt is in the same one, and so is what the reaper writes; of the killed one there is no span."""
    settings["agents_file"].write_text('[agents.script]\nengine = "script"\n')  # without a model it starts sooner
    async with submitting(settings) as api:
        async with worker_process(**settings, lease_ttl_s=0.5) as (process, _):
            task_id = await api.submit(session_id="s1", agent="script", params={"count": 10, "rate": 20})
            await client_of(redis).wrote("output")
            process.kill()
        async with running_worker(WorkerSettings(**settings, lease_ttl_s=0.5), {}):
            log = await client_of(redis).ended(task_id)
    (request,) = await collector.got("POST /api/tasks")
    (attempt,) = await collector.got("invoke_agent script")
    assert attempt.attributes["runcast.attempt"] == 2
    assert (attempt.trace, attempt.parent, attempt.links) == (request.trace, request.id, [(request.trace, request.id)])
    assert (request.parent, int(request.trace, 16) > 0) == ("", True)
    told = traces(log, task_id)
    carried = [(kind, trace) for kind, trace in told if trace is not None]
    assert [kind for kind, _ in carried] == [
        *("task_queued", "task_started", "task_requeued", "task_started", "task_complete")
    ]
    assert {trace[3:35] for _, trace in carried if trace} == {request.trace}
    assert request.is_of(carried[2][1])
    assert (attempt.is_of(carried[1][1]), attempt.is_of(carried[3][1])) == (False, True)


async def test_without_a_collector_the_trace_is_carried_all_the_same(redis: Redis, settings: dict[str, Any]) -> None:
    """Also through a pause and a cancel, whose requests are in traces of their own."""
    del settings["otlp_endpoint"]
    async with submitting(settings) as api:
        headers = {"traceparent": TRACEPARENT}
        answer = await api.client.post("/api/tasks", json={"task": "go", "session_id": "s1"}, headers=headers)
        task_id = answer.json()["task_id"]
        for command in ("pause", "resume", "cancel"):
            assert (await api.client.post(f"/api/tasks/{task_id}/{command}")).is_success
    told = traces(await entries(redis), task_id)
    assert told == [
        ("message_added", None),
        *((kind, TRACEPARENT) for kind in ("task_queued", "task_paused", "task_resumed", "task_cancelled")),
    ]
    assert {kind for kind, trace in told if trace} <= TRACED


async def test_what_fails_says_of_what(
    redis: Redis, settings: dict[str, Any], collector: Collector, stub: Stub
) -> None:
    """A tool, a model, an attempt, a request: each by a name, not by its words."""
    stub.scripts["mine"] = [Turn([Call("shell", {"command": 7})]), Refusal(401)]
    async with submitting(settings) as api, running_worker(WorkerSettings(**settings), {}):
        await client_of(redis).ended(await api.submit(session_id="s1", agent="llm"))
        assert (await api.client.get("/api/tasks/none")).status_code == 422
    (tool,), models = await collector.got("execute_tool shell"), await collector.got("chat mine", 2)
    (attempt,) = await collector.got("invoke_agent llm")
    (refused,) = await collector.got("GET /api/tasks/{task_id}")
    assert (tool.failed, tool.attributes["error.type"]) == (True, "invalid_arguments")
    assert [each.attributes.get("error.type") for each in models] == [None, "model_auth"]
    assert (attempt.failed, attempt.attributes["error.type"]) == (True, "failed")
    assert (refused.failed, refused.attributes["http.response.status_code"]) == (False, 422)
