"""The processes run as the manifests tell them to, answer the probes, and end within their grace period.

On this machine, not in a cluster: with the variables, the user, the read-only root and the times of what kustomize
builds. Run by `make k8s-test`.
"""

import asyncio
import contextlib
import shutil
from pathlib import Path

import httpx2
import pytest

from runcast_events.redis import connect
from runcast_local.store import Store, find_program
from tests.conftest import wait_until
from tests.k8s.manifests import K8S, Resource, component, containers, documents, kustomize, workloads
from tests.k8s.pods import Pod, running

pytestmark = [
    pytest.mark.k8s,
    pytest.mark.timeout(180),
    pytest.mark.skipif(shutil.which("bwrap") is None, reason="a root that cannot be written is made by bubblewrap"),
]
NOBODY = "redis://127.0.0.1:1/0"
"""A store that is away."""
STREAMS = 30


@pytest.fixture(scope="module")
def built() -> list[Resource]:
    return documents(kustomize(K8S / "overlays" / "local"))


def named(built: list[Resource], process: str) -> Resource:
    return next(workload for workload in workloads(built) if component(workload) == process)


@pytest.fixture
def agents_file(tmp_path: Path) -> Path:
    """The deployment's agents, and one that takes as long as it is told to."""
    file = tmp_path / "agents.toml"
    file.write_text((K8S / "base" / "agents.toml").read_text() + '\n[agents.script]\nengine = "script"\n')
    return file


@pytest.fixture
def places(tmp_path: Path, agents_file: Path, redis_url: str) -> dict[str, object]:
    """What is elsewhere on this machine than in a pod."""
    return {"redis_url": redis_url, "agents_file": agents_file, "workspaces": tmp_path / "workspaces"}


@pytest.mark.parametrize("process", ["api", "worker", "gateway"])
async def test_a_store_that_is_away_makes_it_unready_and_keeps_it_alive(
    process: str, built: list[Resource], places: dict[str, object], tmp_path: Path
) -> None:
    """Nothing is restarted for it; and without a store it starts."""
    async with running(named(built, process), built, tmp_path, **places | {"redis_url": NOBODY}) as pod:
        await pod.started()
        assert await pod.asks("livenessProbe")
        assert not await pod.asks("readinessProbe")


async def test_a_task_runs_through_pods(built: list[Resource], places: dict[str, object], tmp_path: Path) -> None:
    """All three together. None writes anything outside of its volumes; the api and the gateway have none."""
    async with (
        running(named(built, "api"), built, **places) as api,
        running(named(built, "worker"), built, tmp_path, **places) as worker,
        running(named(built, "gateway"), built, **places, api_url=f"http://127.0.0.1:{api.ports['http']}") as gateway,
    ):
        for pod in (api, worker, gateway):
            await pod.started()
            await wait_until(lambda pod=pod: pod.asks("readinessProbe"))
        task = await submit(api, {"task": "Write a plan to plan.md", "agent": "demo"})
        url = f"http://127.0.0.1:{gateway.ports['http']}/stream/tasks/{task['task_id']}"
        async with httpx2.AsyncClient(timeout=30) as http:
            text = (await http.get(url)).text
        assert "event: task_complete" in text
        for pod in (api, gateway):
            assert await pod.stopped() < 5, "nothing was open"


async def test_a_gateway_with_streams_ends_within_its_grace(built: list[Resource], places: dict[str, object]) -> None:
    """It tells the readiness probe at once, and spreads the ends of its streams over the drain."""
    async with running(named(built, "gateway"), built, **places) as pod:
        await pod.started()
        ends: list[float] = []
        streams = [asyncio.create_task(read(pod, number, ends)) for number in range(STREAMS)]
        await wait_until(lambda: open_streams(pod, STREAMS))
        stopping = asyncio.create_task(pod.stopped())
        await wait_until(lambda: not_ready(pod), 3)
        took_s = await stopping
        await asyncio.gather(*streams)
        assert len(ends) == STREAMS
        assert max(ends) - min(ends) > 10, "all at once would be a storm"
        print(f"gateway: {took_s:.1f} s from SIGTERM to its end, streams over {max(ends) - min(ends):.1f} s")


async def test_a_worker_with_a_long_task_ends_within_its_grace(
    built: list[Resource], places: dict[str, object], tmp_path: Path
) -> None:
    """The task is given back, for another worker to go on with."""
    async with (
        running(named(built, "api"), built, **places) as api,
        running(named(built, "worker"), built, tmp_path, **places) as worker,
    ):
        await asyncio.gather(api.started(), worker.started())
        task = await submit(api, {"task": "x", "agent": "script", "params": {"count": 100_000, "rate": 20}})
        await wait_until(lambda: state_is(api, task, "running"))
        took_s = await worker.stopped()
        assert await state_is(api, task, "queued")
        print(f"worker: {took_s:.1f} s from SIGTERM to its end")


async def test_the_store_of_development_takes_its_options(built: list[Resource], tmp_path: Path) -> None:
    """As a real server reads them: it logs every write and forgets nothing."""
    [container] = containers(named(built, "store"))
    args = [tmp_path if arg == "/data" else arg for arg in container["args"]]
    with Store(find_program(), tmp_path, options=tuple(map(str, args))) as store:
        client = connect(store.url, "test")
        told = await client.config_get("append*", "maxmemory*", "save")
        await client.aclose()
    assert told["appendonly"] == "yes"
    assert told["appendfsync"] == "everysec"
    assert told["maxmemory-policy"] == "noeviction"
    assert told["maxmemory"] == str(512 * 1024 * 1024)
    assert told["save"] == ""


async def submit(api: Pod, body: dict[str, object]) -> dict[str, str]:
    """What the api answers."""
    async with httpx2.AsyncClient(timeout=10) as http:
        await wait_until(lambda: api.asks("readinessProbe"))
        answer = await http.post(f"http://127.0.0.1:{api.ports['http']}/api/tasks", json=body)
    assert answer.status_code == 202, answer.text
    task: dict[str, str] = answer.json()
    return task


async def state_is(api: Pod, task: dict[str, str], state: str) -> bool:
    async with httpx2.AsyncClient(timeout=10) as http:
        answer = await http.get(f"http://127.0.0.1:{api.ports['http']}/api/tasks/{task['task_id']}")
    return bool(answer.json()["state"] == state)


async def read(pod: Pod, number: int, ends: list[float]) -> None:
    """A client that stays until it is sent away, and notes when."""
    url = f"http://127.0.0.1:{pod.ports['http']}/stream/sessions/s{number}"
    async with httpx2.AsyncClient(timeout=60) as http, http.stream("GET", url) as answer:
        with contextlib.suppress(httpx2.TransportError):
            async for _ in answer.aiter_bytes():
                pass
    ends.append(asyncio.get_running_loop().time())


async def open_streams(pod: Pod, count: int) -> bool:
    async with httpx2.AsyncClient(timeout=10) as http:
        stats = (await http.get(f"http://127.0.0.1:{pod.ports['http']}/stream/stats")).json()
    return bool(stats["connections"] == count)


async def not_ready(pod: Pod) -> bool:
    return not await pod.asks("readinessProbe")
