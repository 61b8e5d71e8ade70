"""The access log: each request has a name, which its answer, its problem document and its lines carry; no query."""

import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from runcast_service.access_log import AccessLog
from runcast_service.logging import LineFormatter
from runcast_service.problem import Problem, install_problems
from tests.loglines import parsed
from tests.service.test_logging import Lines

TOKEN = "token-0123456789"


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    app = FastAPI()
    install_problems(app)
    app.add_middleware(AccessLog)

    @app.get("/things/{name}")
    async def thing(name: str) -> str:
        logging.getLogger("tests.somebody").warning("looking for it")
        if name == "none":
            raise Problem(404, "not_found", "no such thing")
        if name == "broken":
            raise RuntimeError("of ours")
        return name

    @app.get("/health")
    async def health() -> str:
        return "ok"

    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://app") as client:
        yield client


@pytest.fixture
def lines() -> Any:
    """Of the app; the client is in the same process."""
    handler, root = Lines(LineFormatter("api")), logging.getLogger()
    handler.addFilter(lambda record: record.name.startswith(("runcast", "tests")))
    level = root.level
    root.addHandler(handler)
    root.setLevel("INFO")
    yield handler.lines
    root.removeHandler(handler)
    root.setLevel(level)


async def test_a_request_is_a_line_with_its_route_status_and_time(client: httpx2.AsyncClient, lines: list[str]) -> None:
    """Not with its query."""
    assert (await client.get(f"/things/one?token={TOKEN}")).status_code == 200
    *_, line = parsed(lines)
    assert line["logger"] == "runcast_service.access_log"
    shown = {name: line[name] for name in ("level", "message", "method", "path", "route", "status")}
    assert shown == {
        "level": "info",
        "message": "GET /things/{name}: 200",
        "method": "GET",
        "path": "/things/one",
        "route": "/things/{name}",
        "status": 200,
    }
    assert 0 <= line["duration_s"] < 5
    assert TOKEN not in "".join(lines)


@pytest.mark.parametrize("name", ["one", "none", "broken"])
async def test_all_that_belongs_to_a_request_has_its_name(
    client: httpx2.AsyncClient, lines: list[str], name: str
) -> None:
    """The answer, the problem document, what code logs on the way, the access log; also of an error of ours."""
    answer = await client.get(f"/things/{name}", headers={"X-Request-Id": "abc-1.2_3"})
    assert answer.headers.get_list("x-request-id") == ["abc-1.2_3"]
    if name != "one":
        assert answer.json()["request_id"] == "abc-1.2_3"
    ours = parsed(lines)
    assert [line["message"] for line in ours if line["logger"] == "tests.somebody"] == ["looking for it"]
    assert {line["request_id"] for line in ours} == {"abc-1.2_3"}
    assert ours[-1]["status"] == answer.status_code == {"one": 200, "none": 404, "broken": 500}[name]
    assert ours[-1]["level"] == ("warning" if name == "broken" else "info")


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "é", "a\x1b[2J", "{}"])
async def test_a_name_that_is_none_is_replaced(client: httpx2.AsyncClient, given: str) -> None:
    """It goes into every line: nobody may write there what they like."""
    answers = [await client.get("/things/one", headers={"X-Request-Id": given.encode()}) for _ in range(2)]
    names = [answer.headers["x-request-id"] for answer in answers]
    assert all(len(name) == 16 and int(name, 16) for name in names)
    assert names[0] != names[1]


async def test_what_probes_ask_is_not_logged(client: httpx2.AsyncClient, lines: list[str]) -> None:
    """Unless somebody wants to see it."""
    await client.get("/health")
    assert not lines
    logging.getLogger().setLevel("DEBUG")
    await client.get("/health")
    assert [line["path"] for line in parsed(lines) if "path" in line] == ["/health"]
