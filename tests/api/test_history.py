"""/api/sessions/{id}/events: pages of the past."""

import json
from typing import Any

import pytest
from redis.asyncio import Redis

from runcast_api import history
from runcast_events.codec import Encoded, Envelope
from runcast_events.events import Output
from runcast_events.log import EventLog, LogLimits
from tests.api.running import Api, problem
from tests.attempts import Attempt, claim, entries

PATH = "/api/sessions/s1/events"


async def begin(api: Api, redis: Redis) -> Attempt:
    """A running task in s1: 4 events."""
    await api.submit(session_id="s1")
    attempt = await claim(redis)
    await attempt.append(api.state["log"], attempt.started())
    return attempt


def large(text: str) -> Encoded:
    return Envelope("s1").encode(Output(part_id="1", delta=text, offset=0))


async def pages(api: Api, **params: object) -> list[dict[str, Any]]:
    """All pages, each asked for with the `next` of the one before."""
    found: list[dict[str, Any]] = []
    after = "earliest"
    while True:
        answer = await api.client.get(PATH, params={"after": after, **{k: str(v) for k, v in params.items()}})
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
        if found[-1]["next"] is None:
            return found
        after = found[-1]["next"]


@pytest.mark.parametrize("limit", [1, 3, 50, 51, 1000])
async def test_the_pages_of_a_log_are_exactly_the_log(api: Api, redis: Redis, limit: int) -> None:
    """Whatever the page size; each event is its payload with the id in front."""
    attempt = await begin(api, redis)
    for _ in range(4):
        await attempt.append(api.state["log"], *(attempt.output("x") for _ in range(15)))
    log = await entries(redis)
    found = await pages(api, limit=limit)
    events = [event for page in found for event in page["data"]]
    assert events == [{"id": str(entry.id), **json.loads(entry.payload)} for entry in log]
    assert all("gap" not in page for page in found)
    assert [len(page["data"]) for page in found[:-1]] == [limit] * (len(found) - 1)


async def test_after_an_event_only_later_ones_are_shown(api: Api, redis: Redis) -> None:
    """At the end of the log the page is empty and no gap."""
    await begin(api, redis)
    log = await entries(redis)
    page = (await api.client.get(PATH, params={"after": str(log[1].id)})).json()
    assert [event["id"] for event in page["data"]] == [str(entry.id) for entry in log[2:]]
    end = (await api.client.get(PATH, params={"after": str(log[-1].id)})).json()
    assert end == {"data": [], "next": None}


async def test_ndjson_has_one_event_a_line_and_links_the_next_page(api: Api, redis: Redis) -> None:
    """The link leads through the whole log."""
    await begin(api, redis)
    path: str | None = f"{PATH}?limit=3&format=ndjson"
    lines: list[str] = []
    while path is not None:
        answer = await api.client.get(path)
        assert answer.headers["content-type"] == "application/x-ndjson"
        lines += answer.text.splitlines()
        path = answer.links["next"]["url"] if "next" in answer.links else None
    assert [json.loads(line)["id"] for line in lines] == [str(entry.id) for entry in await entries(redis)]


async def test_a_trimmed_log_says_what_is_missing(api: Api, redis: Redis) -> None:
    """The gap stands before the first event and joins it to the cursor; in NDJSON it is the first line."""
    attempt = await begin(api, redis)
    narrow = EventLog(redis, LogLimits(max_entries=16))
    for _ in range(3):
        await attempt.append(narrow, *(attempt.output("x") for _ in range(15)))
    log = await entries(redis)
    assert len(log) == 16
    gap = {"from": "0-0", "to": f"{log[0].id.epoch}-{log[0].id.n - 1}", "reason": "trimmed"}
    page = (await api.client.get(PATH)).json()
    assert page["gap"] == gap
    assert [event["id"] for event in page["data"]] == [str(entry.id) for entry in log]
    lines = (await api.client.get(f"{PATH}?format=ndjson")).text.splitlines()
    assert json.loads(lines[0]) == {"gap": gap}
    assert len(lines) == 17


async def test_a_cursor_that_the_log_never_had_is_told(api: Api, redis: Redis) -> None:
    """Beyond the end, or inside where ids are missing: never an empty page as if nothing had happened."""
    await begin(api, redis)
    log = await entries(redis)
    last, first = log[-1].id, log[0].id
    beyond = (await api.client.get(PATH, params={"after": "9999999999999999-1"})).json()
    gap = {"from": "9999999999999999-1", "to": str(last), "reason": "unknown_cursor"}
    assert beyond == {"data": [], "next": None, "gap": gap}
    inside = (await api.client.get(PATH, params={"after": f"{first.epoch}-77"})).json()
    assert inside["gap"] == {"from": f"{first.epoch}-77", "to": str(log[2].id), "reason": "rewound"}
    assert [event["id"] for event in inside["data"]] == [str(last)]


async def test_after_a_rollback_nothing_is_hidden_under_the_cursor(api: Api, redis: Redis) -> None:
    """A writer that lost nothing goes on below ids that were lost: the gap goes back, and the page shows its events."""
    attempt = await begin(api, redis)
    copy = {key: await redis.dump(key) for key in await redis.keys("runcast:{*") if b":operation:" not in key}
    await api.submit(session_id="s1")
    cursor = str((await entries(redis))[-1].id)
    for key in await redis.keys("runcast:{*"):
        if key in copy:
            await redis.restore(key, 0, copy[key], replace=True)
        elif b":operation:" not in key:
            await redis.delete(key)
    await attempt.append(api.state["log"], attempt.output("kept"))
    log = await entries(redis)
    page = (await api.client.get(PATH, params={"after": cursor})).json()
    assert page["gap"] == {"from": cursor, "to": str(log[-2].id), "reason": "unknown_cursor"}
    assert [event["id"] for event in page["data"]] == [str(log[-1].id)]
    await attempt.append(api.state["log"], attempt.complete())


async def test_a_log_whose_entries_the_store_lost_is_a_gap(api: Api, redis: Redis) -> None:
    """Meta says that there was more: the page does not pretend to be the end."""
    await begin(api, redis)
    last = (await entries(redis))[-1].id
    await redis.delete("runcast:{default:s1}:events")
    page = (await api.client.get(PATH)).json()
    assert page == {"data": [], "next": None, "gap": {"from": "0-0", "to": str(last), "reason": "gone"}}


async def test_a_page_ends_before_a_hole_inside_the_log(api: Api, redis: Redis) -> None:
    """The next page then begins with the gap."""
    attempt = await begin(api, redis)
    await attempt.append(api.state["log"], *(attempt.output("x") for _ in range(5)))
    log = await entries(redis)
    await redis.xdel("runcast:{default:s1}:events", str(log[5].id))
    first, second = await pages(api)
    assert [event["id"] for event in first["data"]] == [str(entry.id) for entry in log[:5]]
    assert second["gap"] == {"from": str(log[4].id), "to": str(log[5].id), "reason": "trimmed"}
    assert [event["id"] for event in second["data"]] == [str(entry.id) for entry in log[6:]]


async def test_a_page_of_large_events_is_bounded_in_bytes(api: Api, redis: Redis) -> None:
    """It ends early, says so, and nothing is lost."""
    attempt = await begin(api, redis)
    for _ in range(10):
        await attempt.append(api.state["log"], *(large("x" * 60_000) for _ in range(10)))
    first, *rest = await pages(api, limit=1000)
    assert rest
    size = sum(len(json.dumps(event)) for event in first["data"])
    assert history.PAGE_BYTES <= size < history.PAGE_BYTES + 128 * 1024
    events = [event["id"] for page in (first, *rest) for event in page["data"]]
    assert events == [str(entry.id) for entry in await entries(redis)]


@pytest.mark.parametrize(
    "after", ["", "x", "5", "1-", "-1-2", "1-2-3", "\u0661-\u0661", "$", "latest", "1" * 17 + "-1", "1-1\n"]
)
async def test_a_wrong_event_id_is_refused(api: Api, after: str) -> None:
    """And never read as `earliest`."""
    await api.submit(session_id="s1")
    problem(await api.client.get(PATH, params={"after": after}), 422, "invalid_id")


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "format=xml", "format="])
async def test_a_wrong_limit_or_format_is_refused(api: Api, query: str) -> None:
    """With what was expected."""
    problem(await api.client.get(f"{PATH}?{query}"), 422, "invalid_request")
