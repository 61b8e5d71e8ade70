"""nginx as the edge: what it passes on, what it answers itself, and what it writes down."""

import asyncio

import httpx2
import pytest

from tests.compose.project import Project
from tests.compose.tour import ComposedRuncast
from tests.conftest import wait_until

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]


def test_a_foreign_name_is_refused(runcast: ComposedRuncast) -> None:
    """A page of another name that leads here may command nobody."""
    answer = runcast.http.get("/api/agents", headers={"Host": "attacker.example:8080"})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_host")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/streams", "/streaming/x", "/api/%2e%2e/stream/stats", "//stream/stats"])
def test_paths_that_only_look_like_a_stream_are_nobodys(runcast: ComposedRuncast, path: str) -> None:
    """A problem document says so, whoever was asked."""
    answer = runcast.http.get(httpx2.URL(runcast.url).copy_with(raw_path=path.encode()))
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_the_api_says_itself_what_is_too_large(runcast: ComposedRuncast) -> None:
    """Not nginx, in HTML."""
    answer = runcast.http.post("/api/tasks", json={"task": "x" * 1_200_000})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_a_stream_comes_compressed_and_at_once(runcast: ComposedRuncast) -> None:
    """The gateway's own compression passes, and its first frame waits for nothing that follows."""
    with runcast.http.stream("GET", "/stream/sessions/unborn", headers={"Accept-Encoding": "gzip"}) as answer:
        assert answer.headers["content-encoding"] == "gzip"
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert b"event: connected" in next(answer.iter_bytes())


async def test_what_clients_send_in_a_query_is_not_written_down(project: Project, runcast: ComposedRuncast) -> None:
    """One day a credential may stand there."""
    runcast.http.get("/api/tasks", params={"secret": "swordfish"})

    async def written() -> bool:
        return '"GET /api/tasks"' in await asyncio.to_thread(project.logs, "edge")

    await wait_until(written, 10, "nginx wrote nothing down")
    assert "swordfish" not in "".join(map(project.logs, ("edge", "api", "gateway")))


@pytest.mark.parametrize("service", ["api", "worker", "gateway", "edge"])
def test_a_container_can_change_nothing_of_itself(project: Project, service: str) -> None:
    """Not even in its own folders; and it is nobody that the machine knows."""
    container = project.containers(service)[0]
    assert project.inside(container, "id -u") == "10001"
    assert project.inside(container, "grep CapEff /proc/self/status").split()[1] == "0" * 16
    folders = "/ /etc /usr/bin /opt /var/lib /root"
    assert project.inside(container, f"for f in {folders}; do touch $f/x 2>/dev/null && echo $f; done; true") == ""
