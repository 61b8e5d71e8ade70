"""Request bodies: size, speed, content type, and strict JSON."""

import asyncio
import json
from collections.abc import Iterator, MutableMapping
from typing import Any

import httpx2
import pytest
from redis.asyncio import Redis

from runcast_api.body import MAX_BODY_BYTES, MAX_DEPTH, parse_json
from runcast_api.settings import ApiSettings
from runcast_service.problem import Problem
from tests.api.running import Api, problem, running
from tests.attempts import entries

JSON = {"content-type": "application/json"}
Message = MutableMapping[str, Any]


async def ask(api: Api, receive: Any, headers: dict[str, str] | None = None) -> httpx2.Response:
    """POST /api/tasks over bare ASGI, with a body as `receive` gives it."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    fields = [(k.encode(), v.encode()) for k, v in (JSON | (headers or {})).items()]
    path = "/api/tasks"
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
    }
    scope |= {"headers": fields, "scheme": "http", "http_version": "1.1", "client": None, "server": ("api", 80)}
    async with asyncio.timeout(10):
        await api.app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    return httpx2.Response(sent[0]["status"], headers=sent[0]["headers"], content=body)


class Chunks:
    """A chunked body; counts what of it was taken. After the last chunk comes `then`."""

    def __init__(self, chunks: Iterator[bytes], then: Message | None = None) -> None:
        self._chunks, self._then, self.taken = chunks, then, 0

    async def __call__(self) -> Message:
        chunk = next(self._chunks, None)
        if chunk is None:
            return self._then or {"type": "http.request", "body": b"", "more_body": False}
        self.taken += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": True}


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65_536


def padded(size: int) -> bytes:
    """A good body of exactly this many bytes."""
    body = b'{"task":"hello"}'
    return body + b" " * (size - len(body))


async def test_a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not(api: Api, redis: Redis) -> None:
    """1 MiB, told by its Content-Length."""
    answer = await api.client.post("/api/tasks", content=padded(MAX_BODY_BYTES), headers=JSON)
    assert answer.status_code == 202
    await redis.flushdb()
    answer = await api.client.post("/api/tasks", content=padded(MAX_BODY_BYTES + 1), headers=JSON)
    assert "1048576 bytes" in problem(answer, 413, "too_large")["detail"]
    assert await redis.dbsize() == 0


@pytest.mark.parametrize("length", ["1048577", "9" * 5000, "0001048577"])
async def test_an_announced_body_that_is_too_large_is_not_read(api: Api, length: str) -> None:
    """Refused before the first byte, whatever the method."""

    async def never() -> Message:
        raise AssertionError("the body was asked for")

    problem(await ask(api, never, {"content-length": length}), 413, "too_large")
    answer = await api.client.request("GET", "/api/tasks", headers={"content-length": length})
    problem(answer, 413, "too_large")


async def test_an_endless_chunked_body_is_read_up_to_the_limit_only(api: Api) -> None:
    """A client that announces nothing, or lies, gains nothing."""
    for headers in ({}, {"content-length": "16"}, {"content-length": "-1"}, {"content-length": "²"}):
        body = Chunks(endless())
        problem(await ask(api, body, headers), 413, "too_large")
        assert MAX_BODY_BYTES < body.taken <= MAX_BODY_BYTES + 65_536


async def test_a_body_that_does_not_come_is_given_up(redis: Redis, redis_url: str) -> None:
    """408 after the body's time, however the bytes dribble."""

    async def dribble() -> Message:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async with running(ApiSettings(redis_url=redis_url, body_timeout_s=0.2)) as api:
        problem(await ask(api, dribble), 408, "body_timeout")
        assert await redis.dbsize() == 0


async def test_a_body_that_breaks_off_does_nothing(api: Api, redis: Redis) -> None:
    """Also where what came so far would be a whole document."""
    body = Chunks(iter([b'{"task":"hello"}']), {"type": "http.disconnect"})
    problem(await ask(api, body), 400, "incomplete_body")
    assert await redis.dbsize() == 0


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/plain"},
        {"content-type": "application/x-www-form-urlencoded"},
        {"content-type": "multipart/form-data; boundary=x"},
        {"content-type": ""},
        {"content-type": "application/json/x"},
        {"content-type": "json"},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
    ids=str,
)
async def test_another_content_type_is_refused(api: Api, headers: dict[str, str]) -> None:
    """A browser's form cannot submit a task."""
    answer = await api.client.post("/api/tasks", content=b'{"task":"hello"}', headers=headers)
    problem(answer, 415, "unsupported_media_type")


async def test_a_body_without_a_content_type_is_refused(api: Api) -> None:
    """No guessing."""
    problem(await api.client.post("/api/tasks", content=b'{"task":"hello"}'), 415, "unsupported_media_type")


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/x+json"])
async def test_json_content_types_are_taken(api: Api, kind: str) -> None:
    """With parameters, in any case, and with a +json suffix."""
    answer = await api.client.post("/api/tasks", content=b'{"task":"hello"}', headers={"content-type": kind})
    assert answer.status_code == 202


async def test_an_empty_body_is_said_to_be_missing(api: Api) -> None:
    """422, with or without a content type."""
    for headers in ({}, JSON):
        document = problem(await api.client.post("/api/tasks", headers=headers), 422, "invalid_request")
        assert document["errors"][0]["loc"] == ["body"]


BAD_JSON = {
    "cut off": b'{"task":"hello"',
    "trailing": b'{"task":"hello"} x',
    "single quotes": b"{'task':'hello'}",
    "nan": b'{"task":"x","params":{"a":NaN}}',
    "infinity": b'{"task":"x","params":{"a":-Infinity}}',
    "number beyond a double": b'{"task":"x","params":{"a":[1e999]}}',
    "integer beyond 64 bits": b'{"task":"x","params":{"a":9223372036854775808}}',
    "huge integer": b'{"task":"x","params":{"a":' + b"9" * 100_000 + b"}}",
    "lone surrogate": b'{"task":"\\ud800"}',
    "lone surrogate in a name": b'{"task":"x","params":{"\\udfff":1}}',
    "surrogate bytes": b'{"task":"\xed\xa0\x80"}',
    "invalid utf-8": b'{"task":"\xff"}',
    "utf-16": '{"task":"x"}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"task":"x"}',
    "raw control character": b'{"task":"a\x00b"}',
    "10 000 levels": b"[" * 10_000 + b"]" * 10_000,
    "500 000 levels": b'{"a":' * 200_000,
    "65 levels": b'{"task":"x","params":{"a":' + b"[" * 63 + b"]" * 63 + b"}}",
    "only spaces": b"  ",
}


@pytest.mark.parametrize("body", BAD_JSON.values(), ids=BAD_JSON)
async def test_what_is_not_plain_json_is_refused(api: Api, redis: Redis, body: bytes) -> None:
    """400 with the reason, and nothing is written."""
    answer = await api.client.post("/api/tasks", content=body, headers=JSON)
    problem(answer, 400, "invalid_json")
    assert len(answer.content) < 1000
    assert await redis.dbsize() == 0


def test_the_limits_of_json_are_where_they_are_said_to_be() -> None:
    """The last good value next to the first bad one."""
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert json.dumps(parse_json(deepest)).encode() == deepest
    with pytest.raises(Problem, match="deeper than 64 levels"):
        parse_json(b"[" + deepest + b"]")
    assert parse_json(b"[9223372036854775807,-9223372036854775808,1.7e308,true]") == [
        2**63 - 1,
        -(2**63),
        1.7e308,
        True,
    ]
    for wrong in (b"9223372036854775808", b"-9223372036854775809"):
        with pytest.raises(Problem, match="64 bits"):
            parse_json(wrong)


async def test_of_a_repeated_name_the_last_value_counts(api: Api, redis: Redis) -> None:
    """As most parsers have it; checks and execution see the same one."""
    body = b'{"task":"first","task":"second","session_id":"a b","session_id":"s1"}'
    answer = await api.client.post("/api/tasks", content=body, headers=JSON)
    assert answer.status_code == 202
    assert b'"prompt":"second"' in (await entries(redis))[-1].payload
