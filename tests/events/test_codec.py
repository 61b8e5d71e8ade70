"""codec.py and entry.py: what is written can be read, in one line, within the size limit."""

import hashlib
import json
from datetime import UTC, datetime
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from runcast_events.codec import MAX_PAYLOAD_BYTES, Envelope, decode, with_id
from runcast_events.entry import UndecodableEntry, decode_entry, decode_publication, raw_entries
from runcast_events.errors import InvalidEvent
from runcast_events.events import EVENTS, Event, LogLost, Output, OutputComplete, TokenUsage, ToolCallComplete
from runcast_events.states import moves

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
PLAIN = {str: TEXT, int: st.integers(1, 50), float: st.floats(0, 100), bool: st.booleans(), type(None): st.none()}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Values of a field's type, small ones."""
    if annotation in PLAIN:
        return PLAIN[annotation]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return values(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (Union, UnionType):
        return st.one_of(*map(values_of, arguments))
    if origin is list:
        return st.lists(values_of(arguments[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(TEXT, JSON, max_size=3)
    return values_of(arguments[0]) if origin is Annotated else JSON


def values(model: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Instances of a model; optional fields may be unset."""
    fields = {field.alias or name: (values_of(field.annotation), field) for name, field in model.model_fields.items()}
    required = {name: strategy for name, (strategy, field) in fields.items() if field.is_required()}
    optional = {name: strategy for name, (strategy, field) in fields.items() if not field.is_required()}
    if "action_name" in required:
        required["action_name"] = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
    return st.fixed_dictionaries(required, optional=optional).map(model.model_validate)


def any_event() -> st.SearchStrategy[Event]:
    """Some event of any type."""
    return st.one_of(*(values(model) for model in EVENTS.values()))


@given(any_event())
@settings(max_examples=150, deadline=None)
def test_every_event_survives_its_payload(event: Event) -> None:
    """One line of UTF-8 JSON with the envelope, from which the same event is read."""
    encoded = Envelope("s1", "s1.aaaaaaaaaa", 2).encode(event)
    assert b"\n" not in encoded.payload
    assert b"\r" not in encoded.payload
    document, again = decode(encoded.payload)
    assert again == event
    assert (document["event_type"], document["session_id"]) == (event.event_type, "s1")


@given(TEXT)
def test_text_of_any_kind_stays_one_line(text: str) -> None:
    """CR, LF, NUL and line separators cannot end the line; the id is spliced in front without parsing."""
    encoded = Envelope("s1").encode(Output(part_id="1", delta=text, offset=0))
    assert b"\n" not in encoded.payload
    assert b"\r" not in encoded.payload
    document = json.loads(with_id("7-1", encoded.payload))
    assert (document["id"], document["delta"]) == ("7-1", text)


@given(st.integers(0, 6), st.sampled_from(["a", "ä", "\x00", "\U0001f600", '"']))
@settings(deadline=None)
def test_a_long_text_is_cut_to_fit(size: int, character: str) -> None:
    """Head and tail stay, with the whole's size and digest, whatever JSON makes of a character."""
    text = "first " + character * (40_000 * size) + " last"
    payload = Envelope("s1").encode(OutputComplete(part_id="1", content=text)).payload
    assert len(payload) <= MAX_PAYLOAD_BYTES
    document = json.loads(payload)
    if "size" in document:
        whole = text.encode()
        assert (document["size"], document["sha256"]) == (len(whole), hashlib.sha256(whole).hexdigest())
        assert document["content"].startswith("first ")
        assert document["content"].endswith(" last")
    else:
        assert document["content"] == text


def test_what_cannot_be_cut_is_refused() -> None:
    """A delta is not cut: its writer makes smaller ones."""
    with pytest.raises(InvalidEvent, match="limit"):
        Envelope("s1").encode(Output(part_id="1", delta="x" * 70_000, offset=0))


def test_text_that_is_not_unicode_is_refused() -> None:
    """A lone surrogate cannot be UTF-8."""
    with pytest.raises(InvalidEvent):
        Envelope("s1").encode(Output(part_id="1", delta="\ud800", offset=0))


def test_null_on_purpose_stays_and_unset_is_left_out() -> None:
    """An unknown cost is null; an optional field that nobody set does not appear."""
    usage = Envelope("s1").encode(TokenUsage(model="m", input=1, output=2, cached=0, cost_usd=None))
    assert json.loads(usage.payload)["cost_usd"] is None
    call = ToolCallComplete(tool_call_id="1.0", tool_name="shell", duration_ms=3, result="ok")
    assert "error" not in json.loads(Envelope("s1").encode(call).payload)


def test_log_lost_says_from_and_to() -> None:
    """Its fields have the names of the contract, though `from` is a Python keyword."""
    document = json.loads(Envelope("s1").encode(LogLost.model_validate({"from": 3, "to": 9})).payload)
    assert (document["from"], document["to"]) == (3, 9)


@pytest.mark.parametrize("raw", [[b"1-1", []], [b"x", [b"t", b"output"]], [b"1-1", None], b"", [b"1-1", [b"t"]]])
def test_a_foreign_entry_is_not_taken_for_ours(raw: object) -> None:
    """Whoever XADDs by hand gets no event shown."""
    with pytest.raises(UndecodableEntry):
        decode_entry(raw)  # type: ignore[arg-type]


@given(st.binary(max_size=200))
def test_a_foreign_publication_is_not_taken_for_ours(data: bytes) -> None:
    """Noise on the channel is an UndecodableEntry, never another error."""
    try:
        decode_publication(data)
    except UndecodableEntry:
        return


def test_a_publication_reads_back() -> None:
    """Ids, types, tasks and payloads as the script joins them, without a copy of what is not needed."""
    data = b"5-2 9-2 1700\n9-1 session_created - 0 80\n{}\n9-2 task_queued s1.aaaaaaaaaa 0 160\n{}"
    publication = decode_publication(data)
    assert (publication.prev, publication.last, publication.at_ms, publication.total_bytes) == (
        b"5-2",
        b"9-2",
        1700,
        160,
    )
    assert publication.entries == [
        (b"9-1", b"session_created", b"", b"{}"),
        (b"9-2", b"task_queued", b"s1.aaaaaaaaaa", b"{}"),
    ]
    assert decode_publication(b"5-2 5-9 1700").entries == []


def test_an_entry_is_the_same_whether_it_is_decoded_or_not() -> None:
    """What is passed on as it came, and what is looked at, agree."""
    fields = [b"t", b"output", b"k", b"s1.aaaaaaaaaa", b"f", b"1", b"a", b"1700", b"s", b"160"]
    for more in ([], [b"b", b"5-2"]):
        raw = [b"9-1", [*fields, *more, b"p", b"{}"]]
        assert raw_entries([raw]) == [decode_entry(raw).raw]
    with pytest.raises(UndecodableEntry):
        raw_entries([[b"9-1", [b"x", b"y"]]])


def test_events_that_move_a_task_carry_its_trace_and_no_others() -> None:
    """What there is most of is as long as without one."""
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    traced, plain = Envelope("s1", "s1.aaaaaaaaaa", 1, traceparent), Envelope("s1", "s1.aaaaaaaaaa", 1)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    for name, move in moves().items():
        event = EVENTS[name].model_construct()
        with_it, without = (json.loads(each.encode(event, now).payload) for each in (traced, plain))
        assert with_it.pop("traceparent", None) == (None if move.to is None else traceparent), name
        assert with_it == without
