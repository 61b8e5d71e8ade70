"""The load client says what is wrong with a stream, and only that."""

from pathlib import Path

import pytest

from benchmarks.gateway import client
from benchmarks.gateway.client import Outcome
from benchmarks.gateway.plan import SessionPlan, payload
from benchmarks.gateway.systems.system import Running
from benchmarks.gateway.workloads import Workload
from tests.benchmarks.server import CHUNKED, HEAD, chunk, event, events, serving

EVENTS = 5
ALL = range(1, EVENTS + 1)
CONNECTED = b'retry: 2000\nevent: connected\nid: 1-0\ndata: {"session_id":"s00000"}\n\n'
GAP = b'event: gap\nid: 1-2\ndata: {"reason":"trimmed"}\n\n'
RIGHT = CHUNKED + chunk(CONNECTED) + chunk(*events(ALL))


def replayed(programs: Path, folder: Path, port: int, clients: int = 1, greeting: str = "connected") -> Outcome:
    workload = Workload("test", "", "replay", 1, clients, missed=EVENTS)
    running = Running([port], [], [SessionPlan("/", payload(0))], 0, "", greeting=greeting)
    return client.run(programs / "load", folder, workload, running)


@pytest.mark.parametrize("piece", [1, 7, 64, 1 << 16])
def test_a_right_stream_is_right_however_it_is_cut(programs: Path, tmp_path: Path, piece: int) -> None:
    """Heads, chunks, lines and stamps may end anywhere in what a read returns."""
    with serving(RIGHT, piece) as port:
        outcome = replayed(programs, tmp_path, port, clients=3)
    assert client.wrong(outcome) == ""
    assert outcome["delivered"] == outcome["expected"] == 3 * EVENTS


@pytest.mark.parametrize(
    "answer",
    [
        CHUNKED + chunk(CONNECTED) + b"".join(map(chunk, events(ALL))),
        CHUNKED + chunk(CONNECTED, b":\n", *events(ALL), b":\n"),
        CHUNKED + chunk(CONNECTED, *events(ALL)).replace(b"\r\n", b";name=value\r\n", 1),
        CHUNKED + chunk(*(frame.replace(b"\n", b"\r\n") for frame in (CONNECTED, *events(ALL)))),
        HEAD + b"\r\n" + CONNECTED + b"".join(events(ALL)),
    ],
    ids=["a chunk each", "heartbeats", "a chunk's extension", "CRLF", "no chunks"],
)
def test_every_way_to_write_a_stream_is_read(programs: Path, tmp_path: Path, answer: bytes) -> None:
    """Servers differ in what the standards leave open."""
    with serving(answer) as port:
        assert client.wrong(replayed(programs, tmp_path, port)) == ""


@pytest.mark.parametrize(
    ("frames", "wrong"),
    [
        (events([1, 2, 4, 5]), {"gaps": 1}),
        (events([2, 3, 4, 5]), {"gaps": 1}),
        (events([1, 2, 2, 3, 4, 5]), {"repeats": 1}),
        (events([1, 3, 2, 4, 5]), {"gaps": 1, "repeats": 1}),
        ([event(1), event(2, session=7), *events([3, 4, 5])], {"strays": 1}),
        ([*events([1, 2]), GAP, *events([3, 4, 5])], {"broken": 1}),
        ([*events([1, 2]), event(3).replace(b"x", b"", 1), *events([4, 5])], {"broken": 1, "gaps": 1}),
        ([*events([1, 2]), event(3).replace(b"}\n", b"x\n"), *events([4, 5])], {"broken": 1, "gaps": 1}),
    ],
    ids=["a hole", "no beginning", "twice", "out of order", "another session's", "a gap told", "shorter", "no end"],
)
def test_a_wrong_stream_is_wrong(programs: Path, tmp_path: Path, frames: list[bytes], wrong: dict[str, int]) -> None:
    """Each fault is counted as what it is."""
    with serving(CHUNKED + chunk(CONNECTED) + chunk(*frames)) as port:
        outcome = replayed(programs, tmp_path, port)
    assert {name: outcome[name] for name in wrong} == wrong
    assert client.wrong(outcome)


def test_what_comes_after_the_last_event_is_seen(programs: Path, tmp_path: Path) -> None:
    """A run does not end with the last event, else a repeat of it would be missed."""
    with serving(RIGHT, late=chunk(event(EVENTS))) as port:
        assert client.wrong(replayed(programs, tmp_path, port)).startswith("1 repeats")


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (CHUNKED + chunk(CONNECTED) + chunk(*events([1, 2])), "1 closed, 3 missing"),
        (RIGHT + b"0\r\n\r\n", "1 closed"),
        (b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "1 refused, 5 missing"),
        (b"", "1 refused, 5 missing"),
    ],
    ids=["cut off", "ended", "refused", "no answer"],
)
def test_a_stream_that_ends_is_told(programs: Path, tmp_path: Path, answer: bytes, wrong: str) -> None:
    """A stream of a session never does by itself."""
    with serving(answer, hang_up=True) as port:
        assert client.wrong(replayed(programs, tmp_path, port)).startswith(wrong)


def test_without_a_greeting_the_head_opens_a_stream(programs: Path, tmp_path: Path) -> None:
    """As peers have none; a frame that is no event is broken then."""
    with serving(CHUNKED + chunk(*events(ALL))) as port:
        assert client.wrong(replayed(programs, tmp_path, port, greeting="")) == ""
    with serving(RIGHT) as port:
        assert "1 broken" in client.wrong(replayed(programs, tmp_path, port, greeting=""))
