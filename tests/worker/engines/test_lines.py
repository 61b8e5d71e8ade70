"""From a terminal's bytes to lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_events.ansi import strip_ansi
from runcast_worker.engines.process.lines import LINE_CHARS, Lines


def lines_of(*pieces: bytes, step_s: float = 0.0) -> list[str]:
    """What is told of these pieces, read `step_s` seconds apart."""
    lines = Lines()
    found: list[str] = []
    for number, piece in enumerate(pieces):
        found += lines.feed(lines.decode(piece), number * step_s)
    found += lines.feed(lines.decode(b"", final=True), len(pieces) * step_s)
    return found + list(lines.flush())


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"", []),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\ntwo\r\n", ["one", "two"]),
        (b"one\r\r\ntwo", ["one", "two"]),
        (b"\n\r\n\n", ["", "", ""]),
        (b"no end", ["no end"]),
        (b"\x1b[31mred\x1b[0m\r\n", ["\x1b[31mred\x1b[0m"]),
        (b"a\xffb\xc3\n\xe2\x82", ["a\ufffdb\ufffd", "\ufffd"]),
        (b"form\x0cfeed\x0bnel\xc2\x85ls\xe2\x80\xa8end\n", ["form\x0cfeed\x0bnel\x85ls\u2028end"]),
        (b"nul\0here\n", ["nul\0here"]),
    ],
)
def test_a_terminals_text_becomes_its_lines(data: bytes, lines: list[str]) -> None:
    """Only LF, with CRs before it, ends a line; colours stay; what is no UTF-8 is replaced."""
    assert lines_of(data) == lines


@given(st.text(st.sampled_from("ab\r\né🎉\x1b")), st.data())
def test_where_the_pieces_are_cut_does_not_matter(text: str, data: st.DataObject) -> None:
    """Also inside a character, and between CR and LF."""
    raw = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)))))
    pieces = [raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    assert lines_of(*pieces) == lines_of(raw)


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_lines_come_back_as_they_were_printed(printed: list[str]) -> None:
    """However they are ended."""
    for end in ("\n", "\r\n"):
        assert lines_of("".join(line + end for line in printed).encode()) == printed


def test_a_progress_bar_is_told_once_a_second_and_at_its_end() -> None:
    """Not every state of it is a line."""
    states = [b"\r%d%%" % percent for percent in range(101)]
    told = lines_of(*states, b"\ndone\n", step_s=0.1)
    assert told[0] == "0%"
    assert told[-2:] == ["100%", "done"]
    assert 10 <= len(told) <= 14


def test_a_progress_bar_that_is_cleared_shows_its_last_state() -> None:
    """Where the line that remains is empty."""
    assert lines_of(b"10%\r", b"20%\r", b"30%\r\n") == ["10%", "30%"]
    assert lines_of(b"only\r\n") == ["only"]


def test_a_line_that_stands_still_is_given_before_its_end() -> None:
    """Once, until it changes; not before 2 s have gone by; whole when it ends."""
    lines = Lines()
    assert list(lines.feed("done\nContinue? ", 0.0)) == ["done"]
    assert (lines.standing(1.9), lines.standing(2.0), lines.standing(9.0)) == (None, "Continue? ", None)
    assert list(lines.feed("y", 10.0)) == []
    assert (lines.standing(11.0), lines.standing(12.0)) == (None, "Continue? y")
    assert list(lines.feed("\n", 13.0)) == ["Continue? y"]
    assert lines.standing(99.0) is None
    assert list(lines.feed("x" * (LINE_CHARS + 1), 100.0))
    assert lines.standing(199.0) is None


@pytest.mark.parametrize("end", [b"\nnext\n", b"\rnext\n", b"\r\nnext\n"])
def test_an_endless_line_is_told_at_once_cut_and_said(end: bytes) -> None:
    """Nothing of its rest is kept or told; the next line is whole."""
    lines = Lines()
    told = [line for _ in range(100) for line in lines.feed("x" * 1000, 0.0)]
    assert len(told) == 1
    assert told[0].startswith("x" * LINE_CHARS + " … (the line is longer than 8192 characters")
    assert [*lines.feed(end.decode(), 0.0), *lines.flush()] == ["next"]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b(B\x1b7a\x1b8", "a"),
        ("\x1b[2K\x1b[1Gx", "x"),
        ("cut \x1b", "cut "),
        ("cut \x1b[3", "cut 3"),
        ("\x1bPq data\x1b\\end", "end"),
    ],
)
def test_escape_sequences_are_left_out(text: str, plain: str) -> None:
    """Colours, titles, links, cursor moves; a sequence that is cut loses its escape character."""
    assert strip_ansi(text) == plain


@given(st.text(st.sampled_from("\x1b[]0;mPXq\\\x07 a")))
def test_no_escape_character_is_left(text: str) -> None:
    """Whatever the text."""
    assert "\x1b" not in strip_ansi(text)
