"""cursor.py: what a client may ask for; everything else is a 400, never a replay of everything."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_events.ids import START, EventId
from runcast_gateway.routes.cursor import parse_cursor, parse_filter
from runcast_gateway.streams.filter import Filter
from runcast_service.problem import Problem


def test_the_header_wins_over_the_query() -> None:
    """An automatic reconnect knows better than the URL of the first connect."""
    assert parse_cursor("7-2", "1-1") == EventId(7, 2)
    assert parse_cursor(None, "1-1") == EventId(1, 1)
    assert parse_cursor("", "1-1") == EventId(1, 1)


def test_the_words() -> None:
    """`earliest` is the default; `latest` is left to the caller, who reads the tail."""
    assert parse_cursor(None, None) == parse_cursor(None, "earliest") == parse_cursor("0-0", None) == START
    assert parse_cursor("latest", None) is None


@given(st.text(max_size=60))
def test_any_other_text_is_a_400(text: str) -> None:
    """Header or query, nothing unparsed passes."""
    if text in ("", "earliest", "latest") or re.fullmatch("[0-9]{1,16}-[0-9]{1,19}", text):
        parse_cursor(text, None)
        return
    with pytest.raises(Problem, match="expected") as problem:
        parse_cursor(text, None)
    assert (problem.value.status, problem.value.code) == (400, "invalid_cursor")


def test_filters_are_checked() -> None:
    """An unknown type and another session's task are told, not ignored."""
    assert parse_filter("s1", "output, task_complete", None).types == {"output", "task_complete"}
    for arguments in (("s1", "outptu", None), ("s1", "", None), ("s1", None, "s2.aaaaaaaaaa"), ("s1", None, "x")):
        with pytest.raises(Problem) as problem:
            parse_filter(*arguments)
        assert problem.value.status == 400


def test_a_filter_shows_what_both_parts_allow() -> None:
    """Types and task are joined by and."""
    only = Filter(frozenset({"output"}), "s1.aaaaaaaaaa")
    assert only.shows("output", "s1.aaaaaaaaaa")
    assert not only.shows("output", "s1.bbbbbbbbbb")
    assert not only.shows("thinking", "s1.aaaaaaaaaa")
