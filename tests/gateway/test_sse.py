"""sse.py: frames that any parser of the specification reads back, however the bytes are cut."""

import json
from itertools import pairwise

import httpx2
from hypothesis import given, settings
from hypothesis import strategies as st

from runcast_events.codec import Envelope
from runcast_events.continuity import Gap
from runcast_events.entry import RawEntry
from runcast_events.events import Output
from runcast_events.ids import EventId
from runcast_events.keys import Keyspace
from runcast_gateway.dialects import sse
from runcast_gateway.streams.batch import Batch
from runcast_gateway.streams.filter import EVERYTHING
from runcast_gateway.streams.target import Target

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def parse(stream: bytes, cuts: list[int]) -> list[httpx2.ServerSentEvent]:
    """Through a parser that is not ours, in pieces."""
    edges = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[a:b] for a, b in pairwise(edges)]
    response = httpx2.Response(
        200,
        headers={"content-type": sse.CONTENT_TYPE},
        content=iter(pieces),
        request=httpx2.Request("GET", "http://test"),
    )
    return list(httpx2.EventSource(response))


@given(st.lists(TEXT, max_size=6), st.lists(st.integers(0, 10_000), max_size=12))
@settings(deadline=None)
def test_events_read_back(deltas: list[str], cuts: list[int]) -> None:
    """Id, type and payload of each event, with heartbeats in between, cut at any byte."""
    entries = [
        RawEntry(b"7-%d" % n, b"output", b"", Envelope("s").encode(Output(part_id="1", delta=d, offset=0)).payload)
        for n, d in enumerate(deltas, 1)
    ]
    stream = sse.HEARTBEAT.join(sse.events(entries)) + sse.HEARTBEAT
    blocks = parse(stream, cuts)
    assert [(b.id.encode(), b.event.encode(), b.data.encode()) for b in blocks] == [
        (e.id, e.type, e.payload) for e in entries
    ]


@given(st.lists(st.integers(0, 500), max_size=5))
def test_control_frames_carry_their_position(cuts: list[int]) -> None:
    """A drop right after one loses nothing: its id is where the stream stands."""
    batch = Batch(Target(Keyspace().session("default", "s"), "s", EVERYTHING), b"1-5")
    batch.gap(Gap(EventId(1, 5), EventId(2, 7), "trimmed"))
    stream = sse.control("connected", {"a": 1}, EventId(1, 5), 2500) + b"".join(batch.frames)
    connected, told = parse(stream, cuts)
    assert (connected.event, connected.id, connected.retry) == ("connected", "1-5", 2500)
    assert (told.event, told.id) == ("gap", "2-7")
    assert json.loads(told.data) == {"from": "1-5", "to": "2-7", "reason": "trimmed", "snapshot_url": "/api/sessions/s"}


def test_a_frame_without_position_leaves_the_cursor() -> None:
    """`draining` says nothing about where the client is."""
    event, draining = parse(sse.control("cursor", {}, EventId(3, 1)) + sse.control("draining", {}), [])
    assert (event.id, draining.id) == ("3-1", "3-1")
