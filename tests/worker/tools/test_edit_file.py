"""edit_file: what it changes, and what it tells a model that was wrong."""

import asyncio
import errno
import fcntl
import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_worker.tools import ToolFailed
from runcast_worker.tools import edit_file as edit_file_module
from runcast_worker.tools import turn as turn_module
from runcast_worker.tools.edit_file import EditFile, edited
from runcast_worker.tools.write_file import WriteFile
from tests.worker.tools.calling import Call

CODE = "def one():\n    return 1\n\n\ndef two():\n    return 2\n"


@pytest.fixture
def call(tmp_path: Path) -> Call:
    (tmp_path / "a.py").write_text(CODE)
    return Call(tmp_path.resolve())


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """An edit stops when it has read its file: it sets the first, and goes on with the second."""
    reading, go_on = threading.Event(), threading.Event()
    read = edit_file_module._read

    def slowly(*arguments: Any) -> str:
        text = read(*arguments)
        reading.set()
        assert go_on.wait(10)
        return text

    monkeypatch.setattr(edit_file_module, "_read", slowly)
    return reading, go_on


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


# In a process of its own, as another worker: reports that it is ready, then edits.
OTHER = """
import asyncio, sys
from pathlib import Path
from runcast_worker.tools import Surroundings
from runcast_worker.tools.edit_file import EditFile, EditFileArguments

async def edits():
    print("ready", flush=True)
    sys.stdin.readline()
    for i in range(30):
        arguments = EditFileArguments(path="n", old_text=f"<b{i}>", new_text=f"(b{i})")
        await EditFile().call(arguments, Surroundings(Path(sys.argv[1])), None)

asyncio.run(edits())
"""


async def test_edits_of_tasks_that_share_a_workspace_all_happen(call: Call, tmp_path: Path) -> None:
    """Of another session in this worker, and of another worker."""
    lines = [f"<{who}{i}>\n" for i in range(30) for who in "abc"]
    (tmp_path / "n").write_text("".join(lines) + "x" * 200_000)

    async def edits(who: str, tool: EditFile) -> None:
        for i in range(30):
            await call(tool, path="n", old_text=f"<{who}{i}>", new_text=f"({who}{i})")

    pipe = asyncio.subprocess.PIPE
    other = await asyncio.create_subprocess_exec(*(sys.executable, "-c", OTHER, str(tmp_path)), stdin=pipe, stdout=pipe)
    try:
        async with asyncio.timeout(30):
            assert other.stdin is not None
            assert other.stdout is not None
            assert await other.stdout.readline() == b"ready\n"
            other.stdin.write(b"\n")
            await asyncio.gather(edits("a", EditFile()), edits("c", EditFile()), other.communicate())
    finally:
        if other.returncode is None:
            other.kill()
            await other.wait()
    assert other.returncode == 0
    assert (tmp_path / "n").read_text()[: len("".join(lines))] == "".join(lines).translate(str.maketrans("<>", "()"))


async def test_writing_a_file_waits_for_an_edit_of_it(
    call: Call, tmp_path: Path, held: tuple[threading.Event, threading.Event]
) -> None:
    """Otherwise the edit would put back what it had read before, and what was written is lost."""
    reading, go_on = held
    editing = asyncio.create_task(call(EditFile(), path="a.py", old_text="    return 2", new_text="    return 3"))
    assert await asyncio.to_thread(reading.wait, 10)
    writing = asyncio.create_task(call(WriteFile(), path="a.py", content="all new"))
    done, _ = await asyncio.wait({writing}, timeout=0.2)
    assert not done
    go_on.set()
    await asyncio.gather(editing, writing)
    assert (tmp_path / "a.py").read_text() == "all new"


async def test_an_edit_that_is_cancelled_is_waited_for_by_the_next(
    call: Call, tmp_path: Path, held: tuple[threading.Event, threading.Event]
) -> None:
    """Its thread cannot be stopped."""
    reading, go_on = held
    first = asyncio.create_task(call(EditFile(), path="a.py", old_text="return 1", new_text="return 10"))
    assert await asyncio.to_thread(reading.wait, 10)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(call(EditFile(), path="a.py", old_text="return 2", new_text="return 20"))
    done, _ = await asyncio.wait({second}, timeout=0.2)
    assert not done
    go_on.set()
    await second
    assert (tmp_path / "a.py").read_text() == CODE.replace("return 1", "return 10").replace("return 2", "return 20")


async def test_a_workspace_that_another_process_has_locked_is_not_waited_for_for_ever(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a file system that cannot lock a folder is written without."""
    monkeypatch.setattr(turn_module, "WAIT_S", 0.1)
    folder = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        refused = await call.refused(WriteFile(), path="a.py", content="x")
        assert "locked the workspace" in refused.message
        assert (tmp_path / "a.py").read_text() == CODE
    finally:
        os.close(folder)

    def cannot(*_: object) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(fcntl, "flock", cannot)
    await call(WriteFile(), path="a.py", content="x")
    assert (tmp_path / "a.py").read_text() == "x"


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
