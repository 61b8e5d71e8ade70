"""What all processes log of a task and of what its clients do: enough to follow it, and nothing that is secret."""

import json
from pathlib import Path

from redis.asyncio import Redis

from runcast_local.model import Call, Stub, Turn, says
from tests.conftest import wait_until
from tests.loglines import bad, parsed
from tests.observing.services import running

PASSWORD, KEY = "canary-of-the-store", "sk-canary-0123456789"
QUERY, HEADER, COOKIE = "canary-of-a-query", "canary-of-a-header", "canary-of-a-cookie"
PROMPT, ARGUMENT, RESULT, ANSWER = "canary prompt", "canary argument", "canary result", "canary answer"
CANARIES = (PASSWORD, KEY, QUERY, HEADER, COOKIE, PROMPT, ARGUMENT, RESULT, ANSWER)
HEADERS = {"Authorization": f"Bearer {HEADER}", "Cookie": f"session={COOKIE}", "X-Request-Id": "followed"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


async def test_all_of_a_task_is_found_and_nothing_secret_is_in_any_line(
    tmp_path: Path, redis: Redis, redis_url: str, base_url: str, stub: Stub
) -> None:
    """At the level that tells most: api, worker and gateway name the request and the task; no line has a credential of
    whoever asks, one of ours, a word of a payload, or a query."""
    result = f"echo {RESULT[:6]}' {RESULT[7:]}'"  # so that the command is not what it says
    call = Call("shell", {"command": f"{result} # {ARGUMENT}"})
    stub.scripts["mine"] = [Turn([call]), Turn(says(ANSWER))]
    url = redis_url.replace("redis://", f"redis://default:{PASSWORD}@")
    environ = {"OPENAI_API_KEY": KEY}
    async with running(tmp_path, url, base_url, environ, log_level="DEBUG") as services:
        traceparent = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        task_id = (await services.submit(PROMPT, HEADERS | traceparent, session_id="s1"))["task_id"]
        shown = await services.events(task_id)
        for client, path in ((services.api, f"/api/tasks/{task_id}"), (services.gateway, f"/stream/tasks/{task_id}")):
            await client.get(f"{path}?access_token={QUERY}", headers=HEADERS)
            await client.post(f"{path}?access_token={QUERY}", headers=HEADERS, content=PROMPT)
        await services.gateway.get(f"/stream/ws?access_token={QUERY}", headers=HEADERS)
        await wait_until(lambda: any("stream closed" in line for line in services.lines("gateway")))
        await services.stop()
        lines = {name: services.lines(name) for name in services.processes}
    assert shown[-2]["final_answer"] == ANSWER
    assert RESULT in json.dumps(shown)
    for name, written in lines.items():
        assert not bad(written), name
        text = "\n".join(written)
        assert not [canary for canary in CANARIES if canary in text], name
    (accepted,) = [each for each in parsed(lines["api"]) if each.get("route") == "/api/tasks"]
    assert (accepted["request_id"], accepted["trace_id"], accepted["status"]) == ("followed", TRACE, 202)
    of_attempt = [each for each in parsed(lines["worker"]) if each.get("task_id") == task_id]
    assert {(each["session_id"], each["attempt"], each["trace_id"]) for each in of_attempt} == {("s1", 1, TRACE)}
    assert [each["message"] for each in of_attempt if each["level"] != "debug"] == [
        "attempt begins",
        "attempt ends: complete",
    ]
    streams = [each["message"] for each in parsed(lines["gateway"]) if each.get("task_id") == task_id]
    assert streams == ["stream opened", "stream closed"]
