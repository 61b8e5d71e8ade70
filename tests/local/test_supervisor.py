"""Children of a supervisor: their lines, their deaths, their end."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic

import pytest

from runcast_local.errors import ChildDied, NotReady
from runcast_local.supervisor import LINE_BYTES, Program, Supervisor
from tests.conftest import wait_until

FOREVER = "exec sleep 300"


async def at_once() -> bool:
    return True


async def never() -> bool:
    return False


def shell(name: str, script: str, ready: bool = True) -> Program:
    return Program(name, ("/bin/sh", "-c", script), dict(os.environ), at_once if ready else never)


def alive(pid: int) -> bool:
    """A zombie counts as dead: who should reap it may be the container's init."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
async def supervisor(lines: list[tuple[str, str]]) -> AsyncIterator[Supervisor]:
    async with Supervisor(1, lambda name, line: lines.append((name, line))) as running:
        yield running


async def pid_of(name: str, lines: list[tuple[str, str]]) -> int:
    """Of a child whose first line is its pid."""
    await wait_until(lambda: name in dict(lines))
    return int(dict(reversed(lines))[name])


async def test_lines_are_shown_under_the_name_of_their_child(
    supervisor: Supervisor, lines: list[tuple[str, str]]
) -> None:
    """stdout and stderr, and the last line also where it has no end."""
    await supervisor.start(shell("one", f"echo hello; echo trouble >&2; printf rest; {FOREVER} >&- 2>&-"))
    await wait_until(lambda: len(lines) == 3)
    assert lines == [("one", "hello"), ("one", "trouble"), ("one", "rest")]


async def test_an_endless_line_is_cut(supervisor: Supervisor, lines: list[tuple[str, str]]) -> None:
    """Memory is bounded whatever a child prints."""
    await supervisor.start(shell("one", f"head -c {3 * LINE_BYTES} /dev/zero | tr '\\0' x; echo; {FOREVER}"))
    await wait_until(lambda: sum(len(line) for _, line in lines) == 3 * LINE_BYTES)
    assert max(len(line) for _, line in lines) <= LINE_BYTES


async def test_a_child_that_dies_at_its_start_ends_the_start_with_its_last_words(supervisor: Supervisor) -> None:
    """Whoever reads it knows at once what was wrong."""
    with pytest.raises(ChildDied, match=r"(?s)two ended with code 3.*bad luck") as death:
        await supervisor.start(shell("one", FOREVER), shell("two", "echo bad luck; exit 3", ready=False))
    assert (death.value.name, death.value.code) == ("two", 3)


async def test_a_program_that_cannot_be_run_is_named(supervisor: Supervisor) -> None:
    """A missing file is an error of the child's, in words."""
    with pytest.raises(ChildDied, match="/nowhere/program: cannot be run: No such file"):
        await supervisor.start(Program("one", ("/nowhere/program",), dict(os.environ), never))


async def test_a_child_that_does_not_become_ready_is_not_waited_for_for_ever(supervisor: Supervisor) -> None:
    """What it said last is in the error."""
    with pytest.raises(NotReady, match=r"(?s)one was not ready after 0\.3 s.*still loading"):
        await supervisor.start(shell("one", f"echo still loading; {FOREVER}", ready=False), timeout_s=0.3)


async def test_a_death_later_on_is_noticed_at_once(supervisor: Supervisor, lines: list[tuple[str, str]]) -> None:
    """Nothing is restarted: it is said, and everything can end."""
    await supervisor.start(shell("one", f"echo $$; {FOREVER}"), shell("two", FOREVER))
    os.kill(await pid_of("one", lines), signal.SIGKILL)
    with pytest.raises(ChildDied, match="one ended by signal 9"):
        await supervisor.watch(5)


async def test_work_ends_with_the_children_it_needs(supervisor: Supervisor, lines: list[tuple[str, str]]) -> None:
    """Its result when it is first; the death otherwise, and then the work is cancelled."""

    async def result() -> int:
        return 7

    await supervisor.start(shell("one", f"echo $$; {FOREVER}"))
    assert await supervisor.during(result()) == 7
    cancelled = asyncio.Event()

    async def endless() -> None:
        try:
            os.kill(await pid_of("one", lines), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ChildDied, match="one ended by signal 15"):
        await supervisor.during(endless())
    assert cancelled.is_set()


async def test_groups_end_in_reverse_order(lines: list[tuple[str, str]]) -> None:
    """The store outlives those who write to it; each gets SIGTERM and its time."""

    def polite(name: str) -> Program:
        return shell(name, "trap 'sleep 0.1; echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done")

    async with Supervisor(5, lambda name, line: lines.append((name, line))) as supervisor:
        await supervisor.start(polite("store"))
        await supervisor.start(polite("api"), polite("worker"))
        await supervisor.start(polite("edge"))
        await wait_until(lambda: len(lines) == 4)
    ended = [name for name, line in lines if line == "bye"]
    assert (ended[0], sorted(ended[1:3]), ended[3]) == ("edge", ["api", "worker"], "store")


async def test_a_child_that_ignores_sigterm_is_killed_with_what_it_started(lines: list[tuple[str, str]]) -> None:
    """After a bound, which is said; its own children in its process group go with it."""
    async with Supervisor(0.2, lambda name, line: lines.append((name, line))) as supervisor:
        await supervisor.start(shell("one", "trap '' TERM; sleep 300 & echo $!; wait; wait; sleep 300"))
        grandchild = await pid_of("one", lines)
        assert alive(grandchild)
    assert lines[-1] == ("one", "did not end within 0.2 s and is killed")
    await wait_until(lambda: not alive(grandchild))


async def test_a_grandchild_that_holds_the_pipe_does_not_delay_the_end(lines: list[tuple[str, str]]) -> None:
    """The end of a child is its own, not that of its output."""
    async with Supervisor(5, lambda name, line: lines.append((name, line))) as supervisor:
        await supervisor.start(shell("one", "setsid sleep 300 & echo $!; exec sleep 300"))
        grandchild = await pid_of("one", lines)
        began = monotonic()
    assert monotonic() - began < 2
    os.kill(grandchild, signal.SIGKILL)


async def test_a_second_interruption_kills_at_once(lines: list[tuple[str, str]]) -> None:
    """Whoever presses Ctrl-C twice does not want to wait."""
    up = asyncio.Event()

    async def run() -> None:
        async with Supervisor(60, lambda name, line: lines.append((name, line))) as supervisor:
            await supervisor.start(shell("one", "trap 'echo no' TERM; echo $$; while :; do sleep 0.02; done"))
            await wait_until(lambda: bool(lines))
            up.set()
            await supervisor.watch()

    task = asyncio.create_task(run())
    await up.wait()
    task.cancel()
    await wait_until(lambda: ("one", "no") in lines)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 5)
    assert not alive(int(lines[0][1]))


KILLED = """
import asyncio, os
from runcast_local.supervisor import Program, Supervisor

async def ready():
    return True

async def main():
    async with Supervisor(60, lambda name, line: print(line, flush=True)) as supervisor:
        script = "trap '' TERM INT HUP; echo $$; while :; do sleep 0.1; done"
        await supervisor.start(*(Program(n, ("/bin/sh", "-c", script), dict(os.environ), ready) for n in "ab"))
        await supervisor.watch()

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent death signal")
async def test_a_supervisor_that_is_killed_leaves_no_child() -> None:
    """SIGKILL gives it no chance to end them; the kernel does."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", KILLED, stdout=pipe)
    assert process.stdout is not None
    children = [int(await process.stdout.readline()) for _ in "ab"]
    assert all(map(alive, children))
    process.kill()
    await process.wait()
    await wait_until(lambda: not any(map(alive, children)))
