"""Problem documents: every error of an app has the same shape and tells nothing of the process."""

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from runcast_service.problem import Problem, install_problems, responses

ERRORS: dict[str, Exception] = {
    "ours": Problem(409, "session_busy", "the session has live tasks", headers={"X-Why": "busy"}, task_ids=["s1.a"]),
    "refused": RedisConnectionError("Error 111 connecting to 10.0.0.7:6379"),
    "full": ResponseError("OOM command not allowed"),
    "timeout": TimeoutError("secret"),
    "bug": RuntimeError("secret"),
}


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    install_problems(app)

    @app.get("/raise/{name}")
    async def fail(name: str, limit: int = 1) -> None:
        raise ERRORS[name]

    @app.post("/strict")
    async def strict(body: Strict) -> None:
        raise AssertionError(body)

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client


async def document(client: httpx2.AsyncClient, path: str, method: str = "GET") -> dict[str, Any]:
    answer = await client.request(method, path)
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == answer.status_code
    assert found["type"] == f"https://runcast.dev/problems/{found['code']}"
    return found


async def test_a_problem_answers_with_its_code_detail_headers_and_extra_members(client: httpx2.AsyncClient) -> None:
    """`code` is what programs switch on."""
    assert await document(client, "/raise/ours") == {
        "type": "https://runcast.dev/problems/session_busy",
        "title": "Session busy",
        "status": 409,
        "code": "session_busy",
        "detail": "the session has live tasks",
        "task_ids": ["s1.a"],
    }
    assert (await client.get("/raise/ours")).headers["x-why"] == "busy"


@pytest.mark.parametrize("name", ["refused", "full", "timeout"])
async def test_a_store_that_fails_is_503_with_a_time_to_come_back(client: httpx2.AsyncClient, name: str) -> None:
    """Whatever redis-py or the socket raises; the address of the store is not told."""
    found = await document(client, f"/raise/{name}")
    assert (found["status"], found["code"]) == (503, "store_unavailable")
    assert "10.0.0.7" not in str(found)
    assert (await client.get(f"/raise/{name}")).headers["retry-after"] == "2"


async def test_an_error_of_ours_shows_nothing_of_the_process(client: httpx2.AsyncClient) -> None:
    """No message, no class, no traceback."""
    found = await document(client, "/raise/bug")
    assert (found["status"], found["code"]) == (500, "internal")
    assert "secret" not in str(found)
    assert "RuntimeError" not in str(found)


async def test_wrong_parameters_name_the_field_and_what_was_expected(client: httpx2.AsyncClient) -> None:
    """The first error is the detail, all are listed; what the client sent is not sent back."""
    found = await document(client, "/raise/ours?limit=sixpence")
    assert (found["status"], found["code"]) == (422, "invalid_request")
    assert found["errors"] == [
        {"loc": ["query", "limit"], "msg": "Input should be a valid integer, unable to parse string as an integer"}
    ]
    assert found["detail"].startswith("query.limit: Input should be a valid integer")


async def test_an_answer_stays_small_whatever_is_wrong(client: httpx2.AsyncClient) -> None:
    """A body of many unknown fields, or of one with an endless name, is not sent back many times over."""
    many = await client.post("/strict", json={f"field{n}": 1 for n in range(10_000)})
    assert many.status_code == 422
    assert len(many.json()["errors"]) == 20
    long = await client.post("/strict", json={"x" * 100_000: 1})
    assert long.json()["errors"][0]["loc"] == ["body", "x" * 80]
    assert max(len(many.content), len(long.content)) < 4000


async def test_unknown_paths_and_methods_are_problems_too(client: httpx2.AsyncClient) -> None:
    """The framework's own refusals have the same shape, and keep their headers."""
    assert (await document(client, "/nowhere"))["code"] == "not_found"
    assert (await document(client, "/raise/ours", "POST"))["code"] == "method_not_allowed"
    assert (await client.post("/raise/ours")).headers["allow"] == "GET"


def test_documented_responses_point_at_the_problem_schema() -> None:
    """One entry a status."""
    documented = responses(404, 409)
    assert set(documented) == {404, 409}
    for entry in documented.values():
        schema = entry["content"]["application/problem+json"]["schema"]
        assert schema == {"$ref": "#/components/schemas/ProblemDocument"}
