"""ids.py: what a stranger may call an id, and how ids compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_events.errors import InvalidId
from runcast_events.ids import (
    EventId,
    check_session_id,
    check_task_id,
    check_tenant,
    new_session_id,
    new_task_id,
    session_of,
)

EVENT_IDS = st.builds(EventId, st.integers(0, 10**16 - 1), st.integers(0, 10**19 - 1))


@given(EVENT_IDS)
def test_an_event_id_survives_its_text(event_id: EventId) -> None:
    """Parsing what was printed gives the same id, from text and from the store's bytes."""
    assert EventId.parse(str(event_id)) == event_id
    assert EventId.decode(str(event_id).encode()) == event_id


@given(EVENT_IDS, EVENT_IDS)
def test_ids_compare_as_two_integers(a: EventId, b: EventId) -> None:
    """9-1 is before 10-1, which text would deny."""
    assert (a < b) == ((a.epoch, a.n) < (b.epoch, b.n))


@pytest.mark.parametrize(
    "text",
    [
        *("", "1", "1-", "-1", "1-1-1", " 1-1", "1-1\n", "+1-1", "1_0-1", "\u0661-1", "1-1\x00", "0x1-1", "1.0-1"),
        *("1" * 17 + "-1", "1-" + "1" * 20, "*", "$", ">", "(1-1", "1-*", "a-b", "0-0 OR 1", "\u22121-1"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    """No text that is not an id gets near a command, and the error says what was expected."""
    with pytest.raises(InvalidId, match="expected"):
        EventId.parse(text)


@given(st.text(max_size=80))
def test_a_session_id_is_of_the_safe_alphabet_or_refused(text: str) -> None:
    """Nothing that could build another key's name passes."""
    safe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
    if 1 <= len(text) <= 64 and all(c in safe for c in text):
        assert check_session_id(text) == text
    else:
        with pytest.raises(InvalidId):
            check_session_id(text)


def test_a_task_id_leads_to_its_session() -> None:
    """A task id alone finds its slot."""
    session_id = new_session_id()
    task_id = new_task_id(session_id)
    assert check_task_id(task_id) == task_id
    assert session_of(task_id) == session_id


@pytest.mark.parametrize(
    "text", ["s1", "s1.", "s1.short", "s1.ABCDEFGHIJ", "s1.abcdefghi1", "a:b.abcdefghij", ".abcdefghij"]
)
def test_a_task_id_has_its_form(text: str) -> None:
    """Anything else is refused."""
    with pytest.raises(InvalidId):
        session_of(text)


def test_a_tenant_is_a_plain_name() -> None:
    """Braces would change the slot."""
    assert check_tenant("default") == "default"
    with pytest.raises(InvalidId):
        check_tenant("a}b")
