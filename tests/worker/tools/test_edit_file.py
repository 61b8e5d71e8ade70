"""edit_file: what it changes, and what it tells a model that was wrong."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_worker.tools import ToolFailed
from runcast_worker.tools import edit_file as edit_file_module
from runcast_worker.tools.edit_file import EditFile, edited
from tests.worker.tools.calling import Call

CODE = "def one():\n    return 1\n\n\ndef two():\n    return 2\n"


@pytest.fixture
def call(tmp_path: Path) -> Call:
    (tmp_path / "a.py").write_text(CODE)
    return Call(tmp_path.resolve())


def failed(text: str, old: str, new: str = "new", *, every: bool = False) -> ToolFailed:
    with pytest.raises(ToolFailed) as refused:
        edited(text, old, new, every=every)
    return refused.value


async def test_a_text_that_is_there_once_is_replaced(call: Call, tmp_path: Path) -> None:
    """In one step, with the file's mode kept, and no other file left behind."""
    os.chmod(tmp_path / "a.py", 0o755)
    said = await call(EditFile(), path="a.py", old_text="    return 2", new_text="    return 3")
    assert said == "changed 1 place of a.py, in line 6"
    assert (tmp_path / "a.py").read_text() == CODE.replace("return 2", "return 3")
    assert (tmp_path / "a.py").stat().st_mode & 0o777 == 0o755
    assert os.listdir(tmp_path) == ["a.py"]


async def test_all_occurrences_are_replaced_where_that_is_asked_for(call: Call, tmp_path: Path) -> None:
    """And the result names their lines."""
    said = await call(EditFile(), path="a.py", old_text="return", new_text="yield", all=True)
    assert said == "changed 2 places of a.py, in lines 2, 6"
    assert (tmp_path / "a.py").read_text() == CODE.replace("return", "yield")


async def test_edits_side_by_side_all_happen(call: Call, tmp_path: Path) -> None:
    """Each writes the whole file: none may undo another's change."""
    (tmp_path / "n").write_text("".join(f"<{i}>\n" for i in range(20)))
    tool = EditFile()
    await asyncio.gather(*(call(tool, path="n", old_text=f"<{i}>", new_text=f"({i})") for i in range(20)))
    assert (tmp_path / "n").read_text() == "".join(f"({i})\n" for i in range(20))


def test_a_text_that_is_not_there_is_answered_with_what_is_like_it() -> None:
    """With line numbers, so that the next try fits."""
    wrong_blanks = failed(CODE, "def two():\n  return 2")
    assert wrong_blanks.code == "no_match"
    assert "line 5: 'def two():'" in wrong_blanks.message
    assert "line 6: '    return 2'" in failed(CODE, "    retrun 2").message
    assert "No line is like" in failed(CODE, "something else entirely").message
    assert "part of line 1" in failed(CODE, "one()\n\n").message
    assert "blanks alone" in failed("x", " \n").message


def test_a_text_that_is_there_several_times_is_answered_with_the_lines() -> None:
    """The model adds what makes it unique."""
    twice = failed(CODE, "return")
    assert twice.code == "many_matches"
    assert "2 times, in lines 2, 6" in twice.message


def test_an_edit_that_changes_nothing_is_refused() -> None:
    """Empty, or the same: the model meant something else."""
    assert failed(CODE, "").code == "empty"
    assert failed(CODE, "one", "one").code == "identical"
    assert failed("a\r\n", "a\n", "a\r\n").code == "identical"


def test_a_file_keeps_its_line_endings() -> None:
    """A model writes \\n whatever the file has; a file of both is left as it is."""
    assert edited("a\r\nb\r\nc\r\n", "a\nb\n", "x\ny\nz\n", every=False)[0] == "x\r\ny\r\nz\r\nc\r\n"
    assert edited("a\r\nb\n", "b\n", "c\nd\n", every=False)[0] == "a\r\nc\nd\n"
    assert failed("a\r\nb\n", "a\nb").code == "no_match"


@given(st.text("ab\n"), st.text("ab\n", min_size=1, max_size=3), st.text("abc\n", max_size=4))
def test_replacing_all_is_what_str_replace_does(text: str, old: str, new: str) -> None:
    """And as many lines are told as there are places."""
    if old == new or old not in text:
        assert failed(text, old, new, every=True).code in ("identical", "no_match")
        return
    changed, lines = edited(text, old, new, every=True)
    assert changed == text.replace(old, new)
    assert len(lines) == text.count(old)


async def test_what_cannot_be_edited_says_why(call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing, outside, binary, too large before or after."""
    (tmp_path / "binary").write_bytes(b"one \xff")
    (tmp_path / "many").write_text("a" * 1000)
    monkeypatch.setattr(edit_file_module, "FILE_BYTES", 2000)
    (tmp_path / "large").write_text("a" * 3000)
    wrong = {"missing": "not_found", "../a.py": "outside_workspace", "binary": "not_text", "large": "too_large"}
    for path, code in wrong.items():
        assert (await call.refused(EditFile(), path=path, old_text="one", new_text="x")).code == code
    grown = await call.refused(EditFile(), path="many", old_text="a", new_text="aaa", all=True)
    assert grown.code == "too_large"
    assert (tmp_path / "many").read_text() == "a" * 1000


def test_looking_for_what_is_closest_takes_bounded_time() -> None:
    """In a file of many long lines."""
    assert failed("ab" * 200_000 + "\n" + "xyz\n" * 100_000, "def nothing():" * 50).code == "no_match"
