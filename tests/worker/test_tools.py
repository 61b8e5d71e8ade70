"""The tools, each in a real workspace, with what an agent should not get away with."""

import asyncio
import json
import os
import sys
import tracemalloc
from pathlib import Path

import pytest

import runcast_worker.sandbox.child as child_module
from runcast_agents import SandboxPolicy
from runcast_worker.tools import OUTPUT_BYTES, Surroundings
from runcast_worker.tools import capture as capture_module
from runcast_worker.tools import read_file as read_file_module
from runcast_worker.tools import scanner as scanner_module
from runcast_worker.tools import shell as shell_module
from runcast_worker.tools.list_files import ListFiles
from runcast_worker.tools.read_file import ReadFile
from runcast_worker.tools.search import Search
from runcast_worker.tools.shell import Shell
from runcast_worker.tools.write_file import WriteFile
from tests.conftest import wait_until
from tests.worker.processes import alive, new_mark
from tests.worker.tools.calling import Call


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = (tmp_path / "workspace").resolve()
    (folder / "src").mkdir(parents=True)
    (folder / "a.py").write_text("one\ntwo\n")
    (folder / "src/b.py").write_text("three\nfour two\nfive\n")
    (folder / "note.txt").write_text("two\n")
    (tmp_path / "secret.txt").write_text("secret\n")
    return folder


@pytest.fixture
def call(workspace: Path) -> Call:
    return Call(workspace)


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["../secret.txt", "src/../../secret.txt", "/etc/passwd", "out/secret.txt", "way-out"])
async def test_a_path_that_leads_out_of_the_workspace_is_refused(call: Call, workspace: Path, path: str) -> None:
    """By dots, absolute, or through a symlink to a folder or a file: reading and writing alike."""
    (workspace / "out").symlink_to(workspace.parent)
    (workspace / "way-out").symlink_to(workspace.parent / "secret.txt")
    assert (await call.refused(ReadFile(), path=path)).code == "outside_workspace"
    assert (await call.refused(WriteFile(), path=path, content="x")).code == "outside_workspace"
    assert (workspace.parent / "secret.txt").read_text() == "secret\n"


async def test_a_symlink_within_the_workspace_is_followed(call: Call, workspace: Path) -> None:
    """What counts is where a path leads."""
    (workspace / "alias").symlink_to("src/b.py")
    assert await call(ReadFile(), path="alias") == "three\nfour two\nfive\n"


@pytest.mark.parametrize("path", ["", "a\0b", "x" * 5000])
async def test_a_path_that_is_none_is_refused(call: Call, path: str) -> None:
    """Instead of an error from deep inside."""
    assert (await call.refused(ReadFile(), path=path)).code == "invalid_path"


# --- read and write ---------------------------------------------------------------------------------------------------


async def test_reading_shows_the_lines_asked_for_and_says_what_is_left(call: Call) -> None:
    """So that a model can go on from there."""
    assert await call(ReadFile(), path="src/b.py", start_line=2, lines=1) == "four two\n… 1 more lines"


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64 * 1024])
@pytest.mark.parametrize("ending", ["", "\n"])
async def test_lines_are_the_same_wherever_the_reading_pauses(
    call: Call, workspace: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, ending: str
) -> None:
    """A file is read in pieces, whose ends may fall into a line, a character or between two lines."""
    monkeypatch.setattr(read_file_module, "CHUNK_BYTES", chunk)
    lines = ["ä1\n", "\n", "three\n", "\n", f"last🎉{ending}"]
    (workspace / "f").write_text("".join(lines))
    for start in range(1, 7):
        for count in range(1, 7):
            more = len(lines) - (start - 1 + count)
            said = f"… {more} more lines" if more > 0 else ""
            wanted = "".join(lines[start - 1 : start - 1 + count]) + said
            assert await call(ReadFile(), path="f", start_line=start, lines=count) == wanted


async def test_reading_a_file_of_many_lines_takes_little_memory(call: Call, workspace: Path) -> None:
    """Sixteen million bytes of two-byte lines: a list of them would take hundreds."""
    (workspace / "f").write_bytes(b"a\n" * (8 * 1024 * 1024))
    tracemalloc.start()
    try:
        assert (await call(ReadFile(), path="f", lines=1)).startswith("a\n… 8388607 more lines")
        assert tracemalloc.get_traced_memory()[1] < 8 * 1024 * 1024
    finally:
        tracemalloc.stop()


async def test_searching_a_file_of_many_lines_takes_little_memory(workspace: Path) -> None:
    """Two million bytes of two-byte lines, each of which fits."""
    (workspace / "f").write_bytes(b"a\n" * (1024 * 1024))
    request = json.dumps({"pattern": "a", "regex": False, "glob": "f", "count": False, "limit": 1})
    program = (
        "import runpy, sys; sys.argv = ['scan.py', sys.argv[2]]; "
        f"runpy.run_path({str(scanner_module.PROGRAM)!r}, run_name='__main__'); "
        "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0], file=sys.stderr)"
    )
    argv = (sys.executable, "-I", "-S", "-c", program, "-", request)
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, cwd=workspace, stdout=pipe, stderr=pipe)
    out, peak_kib = await process.communicate()
    assert json.loads(out)["total"] == 1024 * 1024
    assert int(peak_kib) < 40 * 1024, peak_kib


async def test_reading_stops_at_a_line_that_is_too_long(call: Call, workspace: Path) -> None:
    """It is cut, and says so."""
    (workspace / "f").write_text("x" * 3_000_000)
    shown = await call(ReadFile(), path="f")
    assert shown == "x" * read_file_module.RESULT_CHARS + "\n… cut after 262144 characters"


async def test_reading_what_is_no_text_file_says_why_not(call: Call, workspace: Path) -> None:
    """A missing file, a folder, and a FIFO that would keep the reader waiting for ever."""
    os.mkfifo(workspace / "fifo")
    assert (await call.refused(ReadFile(), path="missing")).code == "not_found"
    assert (await call.refused(ReadFile(), path="src")).code == "not_a_file"
    assert (await call.refused(ReadFile(), path="fifo")).code == "not_a_file"


async def test_bytes_that_are_not_utf8_are_shown_replaced(call: Call, workspace: Path) -> None:
    """An event must be valid Unicode."""
    (workspace / "binary").write_bytes(b"a\xff\xfeb")
    assert await call(ReadFile(), path="binary") == "a��b"


async def test_writing_makes_folders_and_replaces_the_whole_file(call: Call, workspace: Path) -> None:
    """And leaves no temporary file behind."""
    assert await call(WriteFile(), path="new/deep/file.txt", content="ä") == "wrote 2 bytes to new/deep/file.txt"
    await call(WriteFile(), path="new/deep/file.txt", content="b")
    assert (workspace / "new/deep/file.txt").read_text() == "b"
    assert os.listdir(workspace / "new/deep") == ["file.txt"]


async def test_writing_over_a_folder_is_refused_and_leaves_nothing(call: Call, workspace: Path) -> None:
    """The workspace itself is a folder too."""
    assert (await call.refused(WriteFile(), path="src", content="x")).code == "failed"
    assert (await call.refused(WriteFile(), path=".", content="x")).code == "not_a_file"
    assert sorted(os.listdir(workspace)) == ["a.py", "note.txt", "src"]


# --- list and search --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "files"),
    [
        ("*.py", ["a.py", "src/b.py"]),
        ("src/*", ["src/b.py"]),
        ("**/*", ["a.py", "note.txt", "src/b.py"]),
        ("?.py", ["a.py", "src/b.py"]),
        ("*.rs", []),
    ],
)
async def test_a_glob_lists_the_files_that_fit(call: Call, glob: str, files: list[str]) -> None:
    """Without a slash it is about names, anywhere; with one about paths."""
    assert await call(ListFiles(), glob=glob) == {"files": files, "complete": True}


async def test_a_long_list_is_cut_and_says_so(call: Call) -> None:
    """`complete` tells a model that there is more."""
    assert await call(ListFiles(), limit=1) == {"files": ["a.py"], "complete": False}


async def test_search_finds_a_text_or_a_regular_expression(call: Call) -> None:
    """With file and line."""
    found = await call(Search(), pattern="two", glob="*.py")
    assert found["matches"] == [
        {"path": "a.py", "line": 2, "text": "two"},
        {"path": "src/b.py", "line": 2, "text": "four two"},
    ]
    assert (await call(Search(), pattern="^t", regex=True))["total"] == 3
    assert (await call(Search(), pattern="^t"))["total"] == 0


async def test_search_counts_lines_per_file_and_in_all(call: Call) -> None:
    """The empty text is in every line."""
    counted = await call(Search(), pattern="", glob="*.py", count=True)
    assert counted == {"files": {"a.py": 2, "src/b.py": 3}, "total": 5, "complete": True}


async def test_search_and_list_do_not_look_behind_symlinks_or_into_binaries(call: Call, workspace: Path) -> None:
    """A link to a file or folder outside shows nothing of it."""
    (workspace / "way-out").symlink_to(workspace.parent / "secret.txt")
    (workspace / "out").symlink_to(workspace.parent)
    (workspace / "binary").write_bytes(b"secret\0")
    assert (await call(Search(), pattern="secret"))["total"] == 0
    assert "way-out" not in (await call(ListFiles()))["files"]


async def test_a_wrong_regular_expression_is_explained(call: Call) -> None:
    """To the model, which can then mend it."""
    failed = await call.refused(Search(), pattern="(", regex=True)
    assert failed.code == "invalid_arguments"
    assert "unterminated" in failed.message


async def test_a_regular_expression_that_runs_for_ever_is_stopped(
    call: Call, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it backtracks the worker's own loop goes on."""
    monkeypatch.setattr(scanner_module, "TIMEOUT_S", 0.5)
    (workspace / "evil.txt").write_text("a" * 60 + "b\n")
    turns = 0
    searching = asyncio.create_task(call.refused(Search(), pattern="(a+)+$", regex=True))

    def turned() -> bool:
        nonlocal turns
        turns += 1
        return searching.done()

    await wait_until(turned)
    assert (await searching).code == "timeout"
    assert turns > 10


# --- shell ------------------------------------------------------------------------------------------------------------


async def test_the_shell_streams_both_outputs_and_answers_with_the_exit_code(call: Call) -> None:
    """A failing command is a result, not an error."""
    result = await call(Shell(), command="cat a.py; echo wrong >&2; exit 3")
    assert result["exit_code"] == 3
    assert ("stdout", "one\ntwo\n") in call.streamed
    assert ("stderr", "wrong\n") in call.streamed
    assert sorted(result["output"].split()) == ["one", "two", "wrong"]


async def test_the_shell_sees_no_secret_of_the_worker(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment is an allowlist, and its stdin is empty."""
    monkeypatch.setenv("OPENAI_API_KEY", "canary")
    result = await call(Shell(), command="env | cut -d= -f1 | sort; cat")
    assert set(result["output"].split()) <= {"HOME", "LANG", "PATH", "PWD", "TMPDIR", "SHLVL", "OLDPWD", "_"}


async def test_a_command_that_takes_too_long_is_killed(call: Call) -> None:
    """What it wrote until then is told."""
    failed = await call.refused(Shell(), command="echo begun; sleep 100", timeout_s=0.3)
    assert failed.code == "timeout"
    assert "begun" in failed.message


async def test_a_command_that_the_sandbox_killed_is_said_to_be(workspace: Path) -> None:
    """By which limit, and with what it wrote until then: an exit code alone would have a model try again."""
    call = Call(workspace, policy=SandboxPolicy(disk_mb=4))
    fill = "i=0; while :; do i=$((i+1)); head -c 500000 /dev/zero > f$i; sleep 0.01; done"
    failed = await call.refused(Shell(), command=f"echo begun; {fill}")
    assert failed.code == "sandbox_limit"
    assert "disk_mb" in failed.message
    assert "begun" in failed.message


async def test_a_grandchild_that_keeps_the_pipe_open_does_not_hold_up_the_call(call: Call) -> None:
    """The shell has ended; what it left in the background is killed with its group."""
    mark = new_mark()
    result = await call(Shell(), command=f"sleep {mark} & echo $!")
    assert result["output"].strip().isdigit()
    await wait_until(lambda: not alive(mark), message="a process of the call survived")


async def test_a_cancelled_call_leaves_no_process(call: Call, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also none that ignores SIGTERM."""
    monkeypatch.setattr(child_module, "GRACE_S", 0.2)
    mark = new_mark()
    running = asyncio.create_task(call(Shell(), command=f"trap '' TERM; sleep {mark} & sleep {mark}"))
    await wait_until(lambda: len(alive(mark)) == 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await wait_until(lambda: not alive(mark), message="a process of the call survived")


async def test_long_output_keeps_its_head_and_tail(call: Call) -> None:
    """The middle is left out and said; a part is shown while it comes, and it is said that there is more."""
    result = await call(Shell(), command="echo first; yes | head -c 1000000; echo last")
    assert result["bytes"] == 1000011
    assert result["output"].startswith("first\n")
    assert result["output"].endswith("last\n")
    assert "1000011 bytes in all" in result["output"]
    assert len(result["output"]) <= OUTPUT_BYTES
    shown = [text for _, text in call.streamed]
    assert sum(map(len, shown)) == capture_module.SHOWN_CHARS + len(capture_module.NOT_SHOWN)
    assert shown[-1] == capture_module.NOT_SHOWN


async def test_endless_output_is_killed(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that prints must not fill the store."""
    monkeypatch.setattr(shell_module, "KILL_BYTES", 512 * 1024)
    assert (await call.refused(Shell(), command="yes")).code == "too_much_output"


async def test_a_character_split_between_two_reads_is_put_together(call: Call) -> None:
    """And a broken one is replaced."""
    result = await call(Shell(), command=r"printf 'a\303'; sleep 0.1; printf '\244\377'")
    assert result["output"] == "aä�"


async def test_a_call_that_is_cancelled_while_it_begins_leaves_no_descriptor(workspace: Path) -> None:
    """Wherever in the making of its pipes and its process the cancellation falls."""

    async def begin() -> None:
        async with Surroundings(workspace).run(("/bin/true",)):
            await asyncio.sleep(10)

    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = descriptors()
    for turns in range(1, 8):
        for _ in range(5):
            beginning = asyncio.create_task(begin())
            for _ in range(turns):
                await asyncio.sleep(0)
            beginning.cancel()
            await asyncio.gather(beginning, return_exceptions=True)
    await wait_until(lambda: descriptors() <= before, 3, "descriptors leaked")


async def test_a_command_with_nul_is_refused(call: Call) -> None:
    """Instead of an error from deep inside."""
    assert (await call.refused(Shell(), command="a\0b")).code == "invalid_arguments"
