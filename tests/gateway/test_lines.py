"""What a gateway logs of its streams: that they open, that and why they close; no query, and nothing of an event."""

import asyncio
import logging
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from runcast_events.log import EventLog
from tests.attempts import Attempt
from tests.conftest import wait_until
from tests.gateway.running import Client, running_gateway
from tests.gateway.talking import Talk

STREAMS = "runcast_gateway.streams.connections"


def said(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.name == name]


async def test_a_stream_is_two_lines(
    redis: Redis, redis_url: str, started: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    """By whichever way it goes: the same request id, which its client was told as well; the reason; how long."""
    caplog.set_level(logging.DEBUG)
    async with running_gateway(redis_url) as gateway:
        watcher = Client(gateway.base, f"/stream/tasks/{started.task_id}")
        talker = Talk(gateway.base, {"session_id": "s1"})
        reading = [asyncio.create_task(client.read(until="task_complete")) for client in (watcher, talker)]
        await wait_until(lambda: len(said(caplog, STREAMS)) == 2)
        await started.append(EventLog(redis), started.complete())
        await asyncio.gather(*reading)
        await wait_until(lambda: len(said(caplog, STREAMS)) == 4)
    lines = said(caplog, STREAMS)
    opened, closed = ([line for line in lines if line["msg"] == f"stream {what}"] for what in ("opened", "closed"))
    assert len({line["request_id"] for line in opened}) == 2
    assert talker.ws.response is not None
    assert talker.ws.response.headers["x-request-id"] in {line["request_id"] for line in opened}
    for line in opened:
        (its,) = [each for each in closed if each["request_id"] == line["request_id"]]
        assert (its["session_id"], its.get("task_id")) == (line["session_id"], line.get("task_id"))
        assert its["reason"] == ("end" if "task_id" in line else "gone")
        assert 0 <= its["duration_s"] < 20


async def test_a_refused_stream_is_a_line_of_the_access_log(
    redis: Redis, redis_url: str, started: Attempt, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the query, in which a browser may have put its token."""
    caplog.set_level(logging.DEBUG)
    token = "token-0123456789"
    async with running_gateway(redis_url) as gateway, httpx2.AsyncClient(base_url=gateway.base) as http:
        answer = await http.get(f"/stream/sessions/s1?token={token}", headers={"X-Request-Id": "mine"})
        assert answer.status_code == 400
        assert (answer.headers["x-request-id"], answer.json()["request_id"]) == ("mine", "mine")
        async with http.stream("GET", f"/stream/tasks/{started.task_id}", headers={"X-Request-Id": "ours"}) as stream:
            assert stream.headers["x-request-id"] == "ours"
        await http.get(f"/stream/stats?token={token}")
        await http.get(f"/stream/ws?token={token}")
    lines = [(line["path"], line["status"]) for line in said(caplog, "runcast_service.access_log")]
    assert lines == [("/stream/sessions/s1", 400), ("/stream/stats", 200), ("/stream/ws", 426)]
    assert token not in "".join(str(vars(record)) for record in caplog.records if record.name.startswith("runcast"))
    await redis.flushdb()
