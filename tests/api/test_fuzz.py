"""Any input gets a clear answer: never a 5xx, and every 4xx is a problem document."""

import json
from urllib.parse import quote

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.running import Api

EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)

texts = st.text(st.characters(codec="utf-8"), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
POSTS = ("/api/tasks", "/api/tasks/s1.abcdefghij/cancel", "/api/sessions/s1/fork")
FIELDS = ("task", "session_id", "agent", "model", "params", "metadata", "on_busy", "reason", "at", "x")
likely = st.sampled_from(["hello", "s1", "demo", "interrupt", "", " ", "s1.abcdefghij", "\u0000", "a" * 70])
plausible = st.fixed_dictionaries(
    {"task": st.just("hello") | texts},
    optional={
        "session_id": st.sampled_from(["s1", "s2", "s\n"]),
        "params": st.dictionaries(texts, values, max_size=3),
        "metadata": st.dictionaries(texts, values, max_size=3),
        "model": texts,
    },
)
bodies = st.one_of(
    plausible.map(lambda body: json.dumps(body).encode()),
    st.dictionaries(st.sampled_from(FIELDS), likely | values, max_size=6).map(lambda body: json.dumps(body).encode()),
    values.map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=60),
)
kinds = st.sampled_from(["application/json"] * 6 + ["text/plain", "application/json; charset=\x00", "\xff", ""])
segments = st.one_of(
    st.sampled_from(
        ["api", "tasks", "sessions", "events", "cancel", "agents", "health", "s1", "s1.abcdefghij", "..", ""]
    ),
    texts,
)
known = st.sampled_from(
    [
        "/api/tasks",
        "/api/tasks/{}",
        "/api/tasks/{}/cancel",
        "/api/tasks/{}/log",
        "/api/tasks/{}/tool-calls/1.0/output",
        "/api/tasks/s1.abcdefghij/tool-calls/{}/output",
        "/api/sessions",
        "/api/sessions/{}",
        "/api/sessions/{}/events",
        "/api/sessions/{}/fork",
        "/api/sessions/s1/fork",
    ]
)
paths = st.one_of(
    st.builds(lambda path, name: path.format(quote(name, safe="")), known, segments),
    st.lists(segments, max_size=5).map(lambda parts: "/" + "/".join(quote(part, safe="") for part in parts)),
)
methods = st.sampled_from(["GET", "GET", "POST", "DELETE", "PUT", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"])
queries = st.dictionaries(
    st.sampled_from(["limit", "cursor", "after", "format", "force", "x"]),
    texts | st.sampled_from(["1", "200", "json", "ndjson", "earliest", "1-1", "true", "-1", "MTpzMQ"]),
    max_size=3,
)


def check(answer: httpx2.Response) -> None:
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        if answer.request.method != "HEAD":
            document = answer.json()
            assert document["status"] == answer.status_code
            assert document["code"]
            assert document["detail"]
            assert "Traceback" not in answer.text


@EXAMPLES
@given(body=bodies, kind=kinds, path=st.sampled_from(POSTS))
async def test_any_body_is_answered(api: Api, body: bytes, kind: str, path: str) -> None:
    """POST of anything."""
    if not await api.state["records"].live("s1"):
        await api.submit(session_id="s1")
    check(await api.client.post(path, content=body, headers=[(b"content-type", kind.encode("latin-1"))]))


@EXAMPLES
@given(method=methods, path=paths, query=queries)
async def test_any_path_method_and_query_is_answered(api: Api, method: str, path: str, query: dict[str, str]) -> None:
    """Known routes with wild parameters, and paths that are none."""
    check(await api.client.request(method, f"http://api{path}", params=query))


@EXAMPLES
@given(query=st.binary(max_size=40), path=st.sampled_from(["/api/tasks", "/api/sessions", "/api/sessions/s1/events"]))
async def test_any_bytes_as_a_query_are_answered(api: Api, query: bytes, path: str) -> None:
    """Also such that are no UTF-8, in the names that mean something."""
    for name in ("limit", "cursor", "after"):
        check(await api.client.get(f"{path}?{name}={quote(query, safe='')}"))
