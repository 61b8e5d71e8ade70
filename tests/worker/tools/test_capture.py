"""What a call streams: shown in bounds, kept as head and tail, whole in the store, and without a secret anywhere."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_worker.secrets.redaction import Redactor
from runcast_worker.tools import capture as capture_module
from runcast_worker.tools.capture import Capture
from runcast_worker.tools.excerpt import excerpt, json_bytes, shorten
from runcast_worker.tools.spill import Spill

SECRET = "correct horse"


def capture() -> Capture:
    return Capture(lambda: Redactor([SECRET]), Spill(None, "1.0"))


async def test_what_is_short_is_kept_as_it_came() -> None:
    """Both sources in their order; nothing is said to be left out."""
    output = capture()
    assert await output.feed("stdout", "one ") == ["one "]
    assert await output.feed("stderr", "two\n") == ["two\n"]
    assert await output.end() == []
    assert (output.text(1000), output.size, output.cut, output.long) == ("one two\n", 8, False, False)


async def test_a_secret_over_two_writes_or_two_sources_is_not_shown_and_not_kept() -> None:
    """Each source is a stream; what is kept is both together."""
    output = capture()
    shown = [*await output.feed("stdout", "correct "), *await output.feed("stdout", "horse!")]
    assert shown == ["[secret]!"]
    await output.feed("stdout", "cor")
    await output.feed("stderr", "-")
    await output.feed("stdout", "rect horse")
    await output.feed("stderr", "x" * 20 + SECRET[:6])
    await output.feed("stdout", SECRET[6:])
    await output.end()
    assert SECRET not in output.text(1000)


async def test_much_output_is_shown_in_part_and_kept_as_head_and_tail() -> None:
    """With what was left out told, in both."""
    output = capture()
    shown: list[str] = []
    whole = "".join(f"{i:09}\n" for i in range(50_000))
    for at in range(0, len(whole), 7000):
        shown += await output.feed("stdout", whole[at : at + 7000])
    await output.end()
    assert "".join(shown) == whole[: capture_module.SHOWN_CHARS] + capture_module.NOT_SHOWN
    assert max(map(len, shown)) <= capture_module.PIECE_CHARS
    text = output.text(10_000)
    assert json_bytes(text) <= 10_000
    assert text.startswith(whole[:4000])
    assert text.endswith(whole[-4000:])
    assert "500000 bytes in all; the middle is left out" in text
    assert output.sha256 == hashlib.sha256(whole.encode()).hexdigest()
    assert len(output._head) + len(output._tail) == 2 * capture_module.END_CHARS


@pytest.mark.parametrize("size", [7000, 8192, capture_module.SHOWN_CHARS])
async def test_that_the_rest_is_not_shown_is_said_when_there_is_a_rest(size: int) -> None:
    """Also where the room ends exactly where a piece does, as the shell's reads do; and not before."""
    output = capture()
    shown: list[str] = []
    room = capture_module.SHOWN_CHARS
    for at in range(0, room, size):
        shown += await output.feed("stdout", "x" * min(size, room - at))
    assert "".join(shown) == "x" * room
    assert await output.feed("stdout", "y") == [capture_module.NOT_SHOWN]
    assert await output.feed("stderr", "z") == []


async def test_many_tiny_pieces_are_shown_up_to_a_number() -> None:
    """Each costs an event, however short it is."""
    output = capture()
    shown = [piece for _ in range(6000) for piece in await output.feed("stdout", ".")]
    assert len(shown) == capture_module.SHOWN_PIECES + 1
    assert shown[-1] == capture_module.NOT_SHOWN
    assert output.size == 6000


@given(st.text(), st.text(), st.integers(100, 4000))
def test_an_excerpt_fits_whatever_its_characters_take(head: str, tail: str, limit: int) -> None:
    """Escaped, or in several bytes."""
    for text in (excerpt(head * 300, tail * 300, "said", limit), shorten((head + tail) * 300, limit)):
        assert json_bytes(text) <= limit


@given(st.text(max_size=50))
def test_a_text_that_fits_is_not_cut(text: str) -> None:
    """As it is."""
    assert shorten(text, 1000) == text
