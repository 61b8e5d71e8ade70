"""/api/tasks/…/tool-calls/…/output."""

import pytest
from redis.asyncio import Redis

from runcast_tasks.outputs import READ_BYTES, Outputs, output_path
from tests.api.running import Api, problem
from tests.attempts import claim


async def kept(api: Api, redis: Redis, text: bytes) -> str:
    """A task with one kept output, 1.0, that has ended; its id."""
    task_id = await api.submit(session_id="s1")
    attempt = await claim(redis)
    await attempt.append(api.state["log"], attempt.started())
    outputs = Outputs(redis, attempt.hold, 10**8)
    await outputs.write("1.0", 0, text)
    await outputs.whole("1.0", len(text))
    await outputs.write("1.1", 0, b"not whole")
    await attempt.append(api.state["log"], attempt.complete())
    return task_id


async def test_an_output_is_shown_whole_as_plain_text(api: Api, redis: Redis) -> None:
    """Over several reads, some of which cut a character; and no browser takes it for a page."""
    text = "<script>ä🎉".encode() * (READ_BYTES // 7)
    task_id = await kept(api, redis, text)
    answer = await api.client.get(f"/api/tasks/{task_id}/tool-calls/1.0/output")
    assert answer.status_code == 200
    assert answer.content == text
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["content-length"] == str(len(text))


@pytest.mark.parametrize("call_id", ["1.1", "9.9", "bytes", "1.0.0", "1:0", "%00", "\u0661.0", "x" * 500])
async def test_what_is_not_kept_whole_is_not_found(api: Api, redis: Redis, call_id: str) -> None:
    """Unknown, unfinished, or no id at all."""
    task_id = await kept(api, redis, b"text")
    problem(await api.client.get(output_path(task_id, call_id)), 404, "not_found")


async def test_an_output_is_its_tasks_alone(api: Api, redis: Redis) -> None:
    """Another task of the session has none, an unknown one neither, and a wrong id is refused as everywhere."""
    await kept(api, redis, b"text")
    other = await api.submit(session_id="s1")
    problem(await api.client.get(output_path(other, "1.0")), 404, "not_found")
    problem(await api.client.get(output_path("s2.abcdefghij", "1.0")), 404, "not_found")
    problem(await api.client.get(output_path("s1.ABC", "1.0")), 422, "invalid_id")


async def test_an_output_goes_with_its_session(api: Api, redis: Redis) -> None:
    """Deleted is gone."""
    task_id = await kept(api, redis, b"text")
    assert (await api.client.delete("/api/sessions/s1")).status_code == 204
    problem(await api.client.get(output_path(task_id, "1.0")), 404, "not_found")
