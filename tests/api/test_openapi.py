"""The OpenAPI document says what the api does."""

from typing import Any

import pytest
from redis.asyncio import Redis

from tests.api.running import Api
from tests.attempts import claim

OPERATIONS = {
    "tasks_create",
    "tasks_list",
    "tasks_get",
    "tasks_cancel",
    "tasks_pause",
    "tasks_resume",
    "tasks_approve",
    "tasks_input",
    "tasks_log",
    "tasks_output",
    "sessions_list",
    "sessions_get",
    "sessions_delete",
    "sessions_events",
    "sessions_fork",
    "agents_list",
    "health",
}


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {op["operationId"]: op for path in document["paths"].values() for op in path.values()}


@pytest.fixture
def document(api: Api) -> dict[str, Any]:
    return api.fastapi.openapi()


def test_every_operation_has_its_id_a_tag_and_a_summary(document: dict[str, Any]) -> None:
    """Ids are what generated clients name their methods by: none may change unseen."""
    assert set(operations(document)) == OPERATIONS
    for operation in operations(document).values():
        assert operation["tags"]
        assert operation["summary"]


def test_every_operation_that_can_refuse_documents_its_problems(document: dict[str, Any]) -> None:
    """As problem+json with one schema, and nothing of FastAPI's own error shape."""
    for name, operation in operations(document).items():
        refusals = {status: answer for status, answer in operation["responses"].items() if status >= "4"}
        if name not in ("agents_list", "health"):
            assert {"422", "503"} <= set(refusals), name
        for answer in refusals.values():
            assert list(answer["content"]) == ["application/problem+json"]
            schema = answer["content"]["application/problem+json"]["schema"]
            assert schema == {"$ref": "#/components/schemas/ProblemDocument"}
    assert "ProblemDocument" in document["components"]["schemas"]
    assert "HTTPValidationError" not in str(document["paths"])


def test_bodies_and_answers_have_examples(document: dict[str, Any]) -> None:
    """Each request model as a whole; every field that names a thing shows one."""
    schemas = document["components"]["schemas"]
    for name in ("TaskRequest", "ForkRequest", "CancelRequest"):
        assert schemas[name]["examples"]
        assert schemas[name]["additionalProperties"] is False
    assert schemas["TaskAccepted"]["properties"]["task_id"]["examples"] == ["s1.abcdefghij"]
    assert schemas["SessionDocument"]["properties"]["as_of"]["examples"]


def fits(value: object, schema: dict[str, Any], document: dict[str, Any], where: str = "$") -> None:
    """Check a value by the part of JSON Schema that the document uses; unknown properties are refused."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema:
        wanted = "null" if value is None else None
        choices = [choice for choice in schema["anyOf"] if (choice.get("type") == "null") == (wanted == "null")]
        assert choices, f"{where} is {value!r}"
        fits(value, choices[0], document, where)
        return
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": float}
    kinds["null"] = type(None)
    if "type" in schema:
        assert isinstance(value, kinds[schema["type"]]), f"{where} is {value!r}"
    assert value in schema.get("enum", [value]), where
    assert value == schema.get("const", value), where
    if isinstance(value, list):
        for index, item in enumerate(value):
            fits(item, schema["items"], document, f"{where}[{index}]")
    elif isinstance(value, dict) and "properties" in schema:
        assert set(schema.get("required", ())) <= set(value), where
        assert set(value) <= set(schema["properties"]), where
        for name, item in value.items():
            fits(item, schema["properties"][name], document, f"{where}.{name}")


async def test_real_answers_fit_the_documented_schemas(api: Api, redis: Redis, document: dict[str, Any]) -> None:
    """Of every operation, also for a task that has ended."""
    created = await api.client.post("/api/tasks", json={"task": "hello", "session_id": "s1"})
    attempt = await claim(redis)
    await attempt.append(api.state["log"], attempt.started())
    await attempt.append(api.state["log"], attempt.complete())
    task_id = created.json()["task_id"]
    queued = await api.submit(session_id="s1")
    answers = {
        "tasks_create": created,
        "tasks_list": await api.client.get("/api/tasks?limit=1"),
        "tasks_get": await api.client.get(f"/api/tasks/{task_id}"),
        "tasks_log": await api.client.get(f"/api/tasks/{task_id}/log?format=json"),
        "tasks_pause": await api.client.post(f"/api/tasks/{queued}/pause"),
        "tasks_resume": await api.client.post(f"/api/tasks/{queued}/resume"),
        "tasks_cancel": await api.client.post(f"/api/tasks/{queued}/cancel"),
        "sessions_list": await api.client.get("/api/sessions"),
        "sessions_get": await api.client.get("/api/sessions/s1"),
        "sessions_events": await api.client.get("/api/sessions/s1/events?after=1-1"),
        "sessions_fork": await api.client.post("/api/sessions/s1/fork"),
        "agents_list": await api.client.get("/api/agents"),
        "health": await api.client.get("/health"),
    }
    assert set(answers) == OPERATIONS - {"sessions_delete", "tasks_output", "tasks_approve", "tasks_input"}
    for name, answer in answers.items():
        documented = operations(document)[name]["responses"][str(answer.status_code)]
        fits(answer.json(), documented["content"]["application/json"]["schema"], document, name)
    refused = await api.client.post("/api/tasks", json={})
    fits(refused.json(), {"$ref": "#/components/schemas/ProblemDocument"}, document)


async def test_the_document_is_served(api: Api) -> None:
    """Under /api, where the edge routes it."""
    answer = await api.client.get("/api/openapi.json")
    assert answer.status_code == 200
    assert answer.json()["openapi"].startswith("3.")
