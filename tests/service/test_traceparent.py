"""Trace context as callers send it: taken as it is meant, or not at all."""

import pytest

from runcast_service.traceparent import new_traceparent, read_traceparent, trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (GOOD, GOOD),
        (f" {GOOD}\t", GOOD),
        (f"00-{TRACE}-{SPAN}-00", f"00-{TRACE}-{SPAN}-00"),
        (f"00-{TRACE}-{SPAN}-ff", f"00-{TRACE}-{SPAN}-03"),
        (f"cc-{TRACE}-{SPAN}-01-what-comes-later", GOOD),
        (f"cc-{TRACE}-{SPAN}-01.x", None),
        (f"{GOOD}-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (GOOD.upper(), None),
        (GOOD[:-1], None),
        ("", None),
        ("x" * 100_000, None),
        (f"{GOOD}\n{GOOD}", None),
    ],
)
def test_a_header_is_read_by_its_form(given: str, read: str | None) -> None:
    """https://www.w3.org/TR/trace-context/#traceparent-header-field-values"""
    assert read_traceparent([(b"host", b"x"), (b"traceparent", given.encode())]) == read


def test_two_are_none() -> None:
    """Nobody knows which one is meant."""
    assert read_traceparent([(b"traceparent", GOOD.encode())] * 2) is None
    assert read_traceparent([]) is None


def test_a_new_one_is_one() -> None:
    """And of no other trace."""
    one, other = new_traceparent(), new_traceparent()
    assert read_traceparent([(b"traceparent", one.encode())]) == one
    assert len(trace_id(one)) == 32
    assert trace_id(one) != trace_id(other)
    assert trace_id("") == ""
