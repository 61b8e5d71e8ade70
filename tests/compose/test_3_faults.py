"""Every service is killed, restarted and replaced while tasks run and clients watch: nothing is lost, nothing twice.

Killed are one container after the other, restarted and replaced all of a service at once. Docker starts again what was
killed; nobody else does anything.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable
from time import monotonic

import pytest

from runcast_events.entry import Entry
from tests.compose.load import EVENTS, running_load
from tests.compose.project import SERVICES, Project

pytestmark = [pytest.mark.compose, pytest.mark.timeout(600)]

CONTAINERS = [(service, index) for service, count in SERVICES.items() for index in range(count)]
THIRTEEN_S = 325
"""Events of a task that takes so long. Docker by itself would kill it after ten; a worker that drains lets it end."""


@pytest.mark.parametrize(("service", "index"), CONTAINERS)
async def test_a_container_that_is_killed_comes_back(project: Project, service: str, index: int) -> None:
    """Docker starts it again, and nobody else does anything. Only what a killed worker ran is begun anew."""
    container = project.containers(service)[index]
    logs = await under_load(
        project, f"killed-{service}-{index}", service, lambda: project.crash(container), only=container
    )
    crashes = requeued(logs)["crash"]
    assert crashes > 0 if service == "worker" else crashes == 0


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_is_restarted(project: Project, service: str) -> None:
    """All of its containers at once. A worker gets the time to drain, and nothing counts as a crash."""
    events = THIRTEEN_S if service == "worker" else EVENTS
    logs = await under_load(
        project, f"restarted-{service}", service, lambda: project.compose("restart", service), events=events
    )
    assert requeued(logs)["crash"] == 0


@pytest.mark.parametrize("service", ["api", "worker", "gateway"])
async def test_a_service_is_replaced(project: Project, service: str) -> None:
    """As an upgrade does it: other containers, with other addresses, which the edge has to learn of."""
    command = ("up", "--detach", "--no-build", "--no-deps", "--force-recreate", service)
    logs = await under_load(project, f"replaced-{service}", service, lambda: project.compose(*command))
    assert requeued(logs)["crash"] == 0


async def under_load(
    project: Project,
    name: str,
    service: str,
    fault: Callable[[], object],
    only: str | None = None,
    events: int = EVENTS,
) -> dict[str, list[Entry]]:
    """Break something while all sessions are shown events; wait until they are again, and check everything. `only`: the
    one container that is broken. Returns the logs by session."""
    async with running_load(project.url, name, events) as load:
        await load.flows()
        before = await asyncio.to_thread(project.started, *([only] if only else project.containers(service)))
        broken = monotonic()
        await asyncio.to_thread(fault)
        await asyncio.to_thread(project.wait_healthy, service, before)
        healthy_s = monotonic() - broken
        await load.flows()
        await load.finish()
        logs = await load.check(f"redis://:{project.password}@{project.address('store')}:6379/0")
    print(
        f"\n{name}: healthy after {healthy_s:.1f} s, longest silence {load.longest_silence(broken):.1f} s, "
        f"{len(load.accepted)} tasks, {sum(map(len, logs.values()))} events, {load.connections} connections, "
        f"requeued {dict(requeued(logs))}, refused {dict(load.refused)}"
    )
    return logs


def requeued(logs: dict[str, list[Entry]]) -> Counter[str]:
    """How often tasks went back to the queue, by reason."""
    entries = [entry for log in logs.values() for entry in log if entry.type == "task_requeued"]
    return Counter(json.loads(entry.payload)["reason"] for entry in entries)
