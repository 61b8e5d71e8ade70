"""The profile `observability`, as far as its images can be had: Prometheus finds every container of every service."""

import json
import subprocess
import urllib.request
from collections import Counter
from typing import Any

import pytest
import yaml

from tests.compose.project import FILE, SERVICES, Project
from tests.conftest import wait_until

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

PARTS = ("prometheus", "redis-exporter")
"""Without Grafana: only a browser needs it."""
PULL_S = 60
EXPECTED = {name: count for name, count in SERVICES.items() if name in ("api", "worker", "gateway")} | {"redis": 1}


@pytest.fixture
def prometheus(project: Project) -> str:
    """Its URL."""
    services = yaml.safe_load(FILE.read_text())["services"]
    for image in (services[part]["image"] for part in PARTS):
        if not available(image):
            pytest.skip(f"the image {image} is not here and cannot be pulled in {PULL_S} s")
    project.compose("--profile", "observability", "up", "--detach", "--no-deps", "--no-build", *PARTS)
    return f"http://127.0.0.1:{project.prometheus_port}"


async def test_prometheus_finds_every_container(prometheus: str) -> None:
    """By name: as many as there are, each under the job that rules and dashboards know."""

    def found() -> Counter[str]:
        try:
            answer = ask(f"{prometheus}/api/v1/query?query=up")
        except OSError:
            return Counter()
        up = [each["metric"]["job"] for each in answer["data"]["result"] if each["value"][1] == "1"]
        return Counter(up)

    # Names are looked up every 15 s, containers asked as often.
    await wait_until(lambda: found() == EXPECTED, 90, f"expected {EXPECTED}")


def test_prometheus_sees_into_every_hop(prometheus: str) -> None:
    """A metric of ours from each service, and the store's from its exporter."""
    for job in ("api", "worker", "gateway"):
        query = f"count(%7B__name__%3D~%22runcast_.%2A%22%2Cjob%3D%22{job}%22%7D)"
        assert int(ask(f"{prometheus}/api/v1/query?query={query}")["data"]["result"][0]["value"][1]) > 0, job
    assert ask(f"{prometheus}/api/v1/query?query=redis_up")["data"]["result"][0]["value"][1] == "1"


def available(image: str) -> bool:
    if (
        subprocess.run(["docker", "image", "inspect", image], capture_output=True, timeout=60, check=False).returncode
        == 0
    ):
        return True
    try:
        pulled = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, timeout=PULL_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    return pulled.returncode == 0


def ask(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
        return found
