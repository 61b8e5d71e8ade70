"""Lists: pages of tasks and sessions under an opaque cursor."""

import base64

import pytest
from redis.asyncio import Redis

from runcast_api.listing import SLICE, decode_cursor, encode_cursor
from tests.api.running import Api, problem
from tests.conftest import wait_until


async def walk(api: Api, path: str, limit: int) -> list[str]:
    """The ids of all pages."""
    ids: list[str] = []
    cursor: str | None = None
    while True:
        params = {"limit": str(limit)} | ({} if cursor is None else {"cursor": cursor})
        page = (await api.client.get(path, params=params)).json()
        ids += [item["id"] for item in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return ids
        assert len(page["data"]) == limit


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
async def test_the_pages_of_a_list_hold_every_task_once_newest_first(api: Api, limit: int) -> None:
    """Whatever the page size, also where many were accepted in the same millisecond."""
    tasks = [await api.submit(session_id=f"s{n % 3}") for n in range(7)]
    index = api.state["queue"].keys.tasks("default")
    scores = dict(await api.state["events_store"].zrange(index, 0, -1, withscores=True))
    expected = sorted(tasks, key=lambda task: (scores[task.encode()], task), reverse=True)
    assert await walk(api, "/api/tasks", limit) == expected


async def test_members_of_one_millisecond_are_paged_without_loss(api: Api) -> None:
    """The cursor holds the id beside the time."""
    tasks = [await api.submit(session_id=f"s{n}") for n in range(5)]
    await api.state["events_store"].zadd(api.state["queue"].keys.tasks("default"), dict.fromkeys(tasks, 5))
    assert await walk(api, "/api/tasks", 2) == sorted(tasks, reverse=True)


async def test_sessions_are_listed_by_their_last_task(api: Api) -> None:
    """`sessions` are the ids of `data`."""
    for session_id in ("old", "new"):
        await api.submit(session_id=session_id)
    await api.state["events_store"].zadd(api.state["queue"].keys.sessions("default"), {"old": 1_000_000_000_123})
    page = (await api.client.get("/api/sessions")).json()
    assert page["sessions"] == ["new", "old"] == [session["id"] for session in page["data"]]
    assert page["data"][1]["last_active_at"] == "2001-09-09T01:46:40.123Z"
    assert page["data"][0]["created_at"].endswith("Z")
    assert page["data"][0]["title"] is None
    assert await walk(api, "/api/sessions", 1) == ["new", "old"]


async def test_expired_members_leave_the_index_and_do_not_shorten_pages(api: Api, redis: Redis) -> None:
    """More of them than one slice: what is there is still found."""
    oldest = await api.submit(session_id="s1")
    gone = {f"gone-{n}.abcdefghij": 9_999_999_999_000 + n for n in range(SLICE * 2)}
    keys = api.state["queue"].keys
    await redis.zadd(keys.tasks("default"), gone)
    await redis.zadd(keys.sessions("default"), {"gone": 9_999_999_999_999})
    page = (await api.client.get("/api/tasks?limit=1")).json()
    assert [task["id"] for task in page["data"]] == [oldest]
    assert page["next_cursor"] is None
    assert await redis.zcard(keys.tasks("default")) == 1
    assert (await api.client.get("/api/sessions")).json()["sessions"] == ["s1"]
    assert await redis.zcard(keys.sessions("default")) == 1


async def test_expired_members_leave_the_index_though_nobody_lists(api: Api, redis: Redis) -> None:
    """Each submit takes some, also where many old members are of a session that lives on; those all stay."""
    keys = api.state["queue"].keys
    living = {await api.submit(session_id="s1") for _ in range(15)}
    await redis.zadd(keys.tasks("default"), dict.fromkeys(living, 1))
    await redis.zadd(keys.tasks("default"), {f"gone-{n}.abcdefghij": 2 for n in range(30)} | {b"\xff": 2})
    await redis.zadd(keys.sessions("default"), {f"gone-{n}": 2 for n in range(30)})

    async def only_the_living() -> bool:
        living.add(await api.submit(session_id="s1"))
        members = {raw.decode(errors="replace") for raw in await redis.zrange(keys.tasks("default"), 0, -1)}
        assert living <= members
        return members == living and await redis.zrange(keys.sessions("default"), 0, -1) == [b"s1"]

    await wait_until(only_the_living)


async def test_an_empty_list_is_a_page(api: Api) -> None:
    """No error, no cursor."""
    assert (await api.client.get("/api/tasks")).json() == {"data": [], "next_cursor": None}
    assert (await api.client.get("/api/sessions")).json() == {"sessions": [], "data": [], "next_cursor": None}


async def test_a_list_shows_the_head_of_a_prompt_only(api: Api) -> None:
    """A page of 200 tasks stays small; the task itself has the whole."""
    await api.submit("x" * 100_000)
    page = (await api.client.get("/api/tasks")).json()
    assert page["data"][0]["prompt"] == "x" * 200


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=-1", "limit=x", f"limit={'9' * 5000}", "limit="])
async def test_a_wrong_limit_is_refused(api: Api, query: str) -> None:
    """1 to 200."""
    for path in ("/api/tasks", "/api/sessions"):
        problem(await api.client.get(f"{path}?{query}"), 422, "invalid_request")


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "%00", "=", "é", "a" * 5000]
    + [base64.urlsafe_b64encode(text).decode() for text in (b"1", b":s1", b"1:", b"-1:s1", b"1:a b", b"\xff:a")]
    + [base64.urlsafe_b64encode(b"9" * 16 + b":s1").decode(), base64.urlsafe_b64encode("\u0661:s1".encode()).decode()],
)
async def test_a_cursor_that_no_page_gave_is_refused(api: Api, cursor: str) -> None:
    """It is attacker input."""
    for path in ("/api/tasks", "/api/sessions"):
        problem(await api.client.get(path, params={"cursor": cursor}), 422, "invalid_cursor")


def test_a_cursor_survives_the_way_to_the_client_and_back() -> None:
    """Also with an id of the greatest length."""
    for member in (("s1", 0), ("a" * 64 + ".abcdefghij", 1_763_640_000_000)):
        assert decode_cursor(encode_cursor(member)) == member
