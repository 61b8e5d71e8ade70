"""The admin endpoint, and the labels of metrics."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from time import time
from typing import cast

import httpx2
import pytest
from redis.asyncio import Redis

from runcast_api.app import create_app
from runcast_api.body import MAX_BODY_BYTES
from runcast_api.settings import ApiSettings
from runcast_api.state import State
from runcast_local.store import Store, free_port
from tests.api.running import Api
from tests.attempts import entries


@pytest.fixture
async def api(redis: Redis, redis_url: str) -> AsyncIterator[Api]:
    """With its whole lifespan. A second app beside it counts into a registry of its own."""
    app = create_app(ApiSettings(redis_url=redis_url))
    create_app(ApiSettings(redis_url=redis_url))
    async with app.router.lifespan_context(app) as state:
        api = Api(app, cast(State, state))
        async with api.client:
            yield api


def metrics(api: Api) -> dict[str, float]:
    """Sample line without its value -> value."""
    found = {}
    for metric in api.state["metrics"].registry.collect():
        for sample in metric.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()) if k != "le")
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def test_accepted_tasks_are_counted_by_agent(api: Api) -> None:
    """Refused ones are not."""
    await api.submit()
    await api.submit()
    await api.client.post("/api/tasks", json={"task": "hello", "agent": "nobody"})
    counted = {name: value for name, value in metrics(api).items() if name.startswith("runcast_tasks_accepted_total")}
    assert counted == {"runcast_tasks_accepted_total{agent=demo}": 2}


async def test_tasks_that_were_not_accepted_are_counted_by_the_code_of_the_problem(api: Api) -> None:
    """Other requests that go wrong are none of them."""
    await api.client.post("/api/tasks", json={"task": "hello", "agent": "nobody"})
    await api.client.post("/api/tasks", json={})
    await api.client.post("/api/tasks", content=b"[", headers={"Content-Type": "application/json"})
    await api.client.post("/api/tasks", headers={"Content-Length": str(MAX_BODY_BYTES + 1)})  # before any route
    await api.client.get("/api/tasks/s1.abcdefghij")
    counted = {name: value for name, value in metrics(api).items() if name.startswith("runcast_tasks_rejected_total")}
    assert counted == {
        "runcast_tasks_rejected_total{reason=unknown_agent}": 1,
        "runcast_tasks_rejected_total{reason=invalid_request}": 1,
        "runcast_tasks_rejected_total{reason=invalid_json}": 1,
        "runcast_tasks_rejected_total{reason=too_large}": 1,
    }


async def test_what_an_api_counts_agrees_with_the_log(api: Api) -> None:
    """Every task brings a session_created along, of which the log has one."""
    for _ in range(3):
        await api.submit(session_id="s1")
    log = await entries(api.state["events_store"])
    counted = {name: value for name, value in metrics(api).items() if name.startswith("runcast_events_written_total")}
    found = Counter(f"runcast_events_written_total{{type={entry.type}}}" for entry in log)
    assert counted == found
    assert metrics(api)["runcast_log_bytes_total{}"] == sum(len(entry.payload) for entry in log)


async def test_the_queue_is_looked_at_when_somebody_asks(api: Api) -> None:
    """How many tasks nobody has taken, and for how long the oldest waits."""
    measure = api.state["metrics"]
    await measure.look(api.state["queue"])
    assert metrics(api)["runcast_tasks_queued{}"] == metrics(api)["runcast_tasks_queued_oldest_seconds{}"] == 0
    for _ in range(3):
        await api.submit()
    await api.state["queue_store"].zadd(api.state["queue"].keys.arq, {"older": int(time() * 1000) - 60_000})
    await measure.look(api.state["queue"])
    assert metrics(api)["runcast_tasks_queued{}"] == 4
    assert 60 <= metrics(api)["runcast_tasks_queued_oldest_seconds{}"] < 90


async def test_requests_are_timed_by_route_template(api: Api) -> None:
    """No id, no path and no method that a client made up becomes a label."""
    task_id = await api.submit(session_id="secret-session")
    await api.client.get(f"/api/tasks/{task_id}")
    await api.client.get("/api/tasks/s1.abcdefghij")
    await api.client.get("/made/up")
    await api.client.request("BREW", "/api/tasks")
    counted = {name: value for name, value in metrics(api).items() if "request_seconds_count" in name}
    prefix = "runcast_api_request_seconds_count"
    assert counted == {
        f"{prefix}{{method=POST,route=/api/tasks,status=202}}": 1,
        f"{prefix}{{method=GET,route=/api/tasks/{{task_id}},status=200}}": 1,
        f"{prefix}{{method=GET,route=/api/tasks/{{task_id}},status=404}}": 1,
        f"{prefix}{{method=other,route=unmatched,status=404}}": 1,
        f"{prefix}{{method=other,route=/api/tasks,status=405}}": 1,
    }


async def test_the_admin_endpoint_tells_readiness_and_metrics(own_store: Store) -> None:
    """Not ready while a store is away, alive all the same; ready again when it is back."""
    port = free_port()
    app = create_app(ApiSettings(redis_url=own_store.url, admin_port=port))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as admin,
    ):
        assert (await admin.get("/readyz")).status_code == 200
        own_store.kill()
        answer = await admin.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"status": "unavailable", "reason": "the events store does not answer"}
        assert (await admin.get("/livez")).status_code == 200
        own_store.start()
        async with asyncio.timeout(5):
            assert (await admin.get("/readyz")).status_code == 200
        text = (await admin.get("/metrics")).text
    assert re.search(r"^# TYPE runcast_tasks_accepted_total counter$", text, re.MULTILINE)
    assert re.search(r"^process_resident_memory_bytes [0-9]", text, re.MULTILINE)
