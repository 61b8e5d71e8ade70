"""The store away: requests are refused clearly and in bounded time, and served again as soon as it is back."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from runcast_api.settings import ApiSettings
from runcast_local.store import Store, find_program
from runcast_tasks.submit import drop_expired
from tests.api.running import Api, problem, running
from tests.conftest import wait_until

REQUESTS = [
    ("POST", "/api/tasks", {"task": "hello"}),
    ("GET", "/api/tasks", None),
    ("GET", "/api/tasks/s1.abcdefghij", None),
    ("POST", "/api/tasks/s1.abcdefghij/cancel", {}),
    ("GET", "/api/sessions", None),
    ("GET", "/api/sessions/s1", None),
    ("DELETE", "/api/sessions/s1?force=true", None),
    ("GET", "/api/sessions/s1/events", None),
]


@pytest.fixture
def frozen() -> Iterator[list[int]]:
    """Processes that the test stopped; they go on afterwards, so that they can be ended."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


async def refused(api: Api, within_s: float) -> None:
    for method, path, body in REQUESTS:
        asked_at = monotonic()
        answer = await api.client.request(method, path, json=body)
        assert monotonic() - asked_at < within_s, path
        problem(answer, 503, "store_unavailable")
        assert answer.headers["retry-after"]


async def test_a_dead_store_is_told_at_once_and_its_return_is_noticed(own_store: Store) -> None:
    """Every operation; the process itself stays healthy."""
    async with running(ApiSettings(redis_url=own_store.url)) as api:
        await api.submit(session_id="s1")
        own_store.kill()
        await refused(api, 2)
        assert (await api.client.get("/health")).json() == {"status": "ok"}
        own_store.start()

        async def accepted() -> bool:
            return (await api.client.post("/api/tasks", json={"task": "hello"})).status_code == 202

        await wait_until(accepted)


async def test_a_store_that_hangs_is_given_up_in_bounded_time(own_store: Store, frozen: list[int]) -> None:
    """A connection that is open and silent is the slow case: about three times the store's time."""
    async with running(ApiSettings(redis_url=own_store.url, store_timeout_s=0.2)) as api:
        await api.submit(session_id="s1")
        assert own_store.process is not None
        frozen.append(own_store.process.pid)
        os.kill(own_store.process.pid, signal.SIGSTOP)
        await refused(api, 2)


async def test_a_store_that_refuses_writes_still_answers_reads(own_store: Store) -> None:
    """A full store is no error of the client's and none of ours."""
    async with running(ApiSettings(redis_url=own_store.url)) as api:
        task_id = await api.submit(session_id="s1")
        await api.state["events_store"].config_set("maxmemory", 1)
        problem(await api.client.post("/api/tasks", json={"task": "hello"}), 503, "store_unavailable")
        assert (await api.client.get(f"/api/tasks/{task_id}")).json()["state"] == "queued"
        assert (await api.client.get("/api/sessions/s1/events")).status_code == 200


async def test_two_stores_share_the_work_and_each_one_missing_is_told(own_store: Store, tmp_path: Path) -> None:
    """Events and queue apart: what needs only the one that is there is served."""
    with Store(find_program(), tmp_path / "queue") as queue:
        async with running(ApiSettings(redis_url=queue.url, events_redis_url=own_store.url)) as api:
            task_id = await api.submit(session_id="s1")
            assert await api.state["events_store"].exists("runcast:rings") == 0
            assert await api.state["queue_store"].exists("runcast:rings") == 1
            queue.kill()
            problem(await api.client.post("/api/tasks", json={"task": "hello"}), 503, "store_unavailable")
            assert (await api.client.get(f"/api/tasks/{task_id}")).status_code == 200


async def test_a_task_in_the_log_is_accepted_though_the_queue_store_dies(own_store: Store, tmp_path: Path) -> None:
    """A refusal now would have the client send it twice; the hint in `due` finds it."""
    with Store(find_program(), tmp_path / "queue") as queue:
        async with running(ApiSettings(redis_url=queue.url, events_redis_url=own_store.url)) as api:
            await api.state["queue_store"].set("runcast:index:default:tasks", "no sorted set")
            answer = await api.client.post("/api/tasks", json={"task": "hello"})
            assert answer.status_code == 202
            task = await api.client.get(answer.json()["links"]["self"])
            assert task.json()["state"] == "queued"
            assert await api.state["queue_store"].zcard("runcast:due") == 1


async def test_clearing_the_indexes_never_fails_and_gives_up_soon(own_store: Store) -> None:
    """It comes after a task was accepted: whatever the stores do, its client hears so, and hears it in time."""
    async with running(ApiSettings(redis_url=own_store.url, store_timeout_s=60)) as api:
        await api.submit(session_id="s1")
        arguments = (api.state["queue_store"], api.state["queue"], api.state["records"], api.state["tenant"])
        assert own_store.process is not None
        os.kill(own_store.process.pid, signal.SIGSTOP)
        try:
            asked_at = monotonic()
            await drop_expired(*arguments)
            assert monotonic() - asked_at < 3
        finally:
            os.kill(own_store.process.pid, signal.SIGCONT)
        own_store.kill()
        await drop_expired(*arguments)


async def test_a_cancel_is_done_though_the_queue_store_is_away(own_store: Store, tmp_path: Path) -> None:
    """What is in the log is done: a 503 would have the client ask again for what has ended."""
    with Store(find_program(), tmp_path / "queue") as queue:
        async with running(ApiSettings(redis_url=queue.url, events_redis_url=own_store.url)) as api:
            first, second = await api.submit(session_id="s1"), await api.submit(session_id="s1")
            queue.kill()
            answer = await api.client.post(f"/api/tasks/{first}/cancel")
            assert (answer.status_code, answer.json()["status"]) == (202, "cancelled")
            states = [(await api.client.get(f"/api/tasks/{task_id}")).json()["state"] for task_id in (first, second)]
            assert states == ["cancelled", "queued"]


async def test_a_delete_is_done_though_the_queue_store_is_away(own_store: Store, tmp_path: Path) -> None:
    """Also one that cancels first; the session leaves the index when somebody lists it."""
    with Store(find_program(), tmp_path / "queue") as queue:
        async with running(ApiSettings(redis_url=queue.url, events_redis_url=own_store.url)) as api:
            for _ in range(2):
                await api.submit(session_id="s1")
            queue.kill()
            assert (await api.client.delete("/api/sessions/s1?force=true")).status_code == 204
            problem(await api.client.get("/api/sessions/s1"), 410, "session_deleted")
            queue.start()
            assert (await api.client.get("/api/sessions")).json()["sessions"] == []


async def test_the_next_task_is_rung_for_though_the_cancelled_one_cannot_be_forgotten(
    own_store: Store, tmp_path: Path
) -> None:
    """The ring is what somebody waits for; a hint too many costs the reaper one look."""
    with Store(find_program(), tmp_path / "queue") as queue:
        async with running(ApiSettings(redis_url=queue.url, events_redis_url=own_store.url)) as api:
            first, second = await api.submit(session_id="s1"), await api.submit(session_id="s1")
            await api.state["queue_store"].delete("runcast:rings", "runcast:due")
            await api.state["queue_store"].set("runcast:due", "no sorted set")
            assert (await api.client.post(f"/api/tasks/{first}/cancel")).status_code == 202
            rings = await api.state["queue_store"].zrange("runcast:rings", 0, -1)
            assert [ring.decode().rpartition(":")[0] for ring in rings] == [second]


async def test_a_forced_delete_ends_in_time_though_the_queue_store_hangs(own_store: Store, tmp_path: Path) -> None:
    """However many tasks it has to cancel, each of which waits for the store. Asked again, it goes on."""
    with Store(find_program(), tmp_path / "queue") as queue:
        settings = ApiSettings(redis_url=queue.url, store_timeout_s=0.1, delete_wait_s=0.1)
        async with running(settings.model_copy(update={"events_redis_url": own_store.url})) as api:
            for _ in range(30):
                await api.submit(session_id="s1")
            assert queue.process is not None
            os.kill(queue.process.pid, signal.SIGSTOP)
            try:
                asked_at = monotonic()
                answer = await api.client.delete("/api/sessions/s1?force=true")
                assert monotonic() - asked_at < 2
            finally:
                os.kill(queue.process.pid, signal.SIGCONT)
            assert 0 < len(problem(answer, 409, "session_busy")["task_ids"]) < 30
