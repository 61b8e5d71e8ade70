"""A command and its guard: what goes through them, what they are started with, and what is left of them."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from runcast_agents import SandboxPolicy
from runcast_worker.guard import seccomp
from runcast_worker.sandbox import Child, Sandbox, Tier
from runcast_worker.tools import Surroundings
from runcast_worker.tools.scanner import scan
from tests.conftest import wait_until
from tests.worker.sandbox.machine import TIERS, remains

PYTHON = str(Path(sys.executable).resolve())
NODE = Path(shutil.which("node") or "/nowhere/node").resolve()
PLAIN = SandboxPolicy()
SEES_PYTHON = SandboxPolicy(read=(Path(sys.base_prefix),))
STAND_IN = """
import asyncio, sys
from pathlib import Path
from runcast_agents import SandboxPolicy
from runcast_worker.sandbox import Sandbox

async def main():
    command = "trap '' TERM; setsid sleep 300 & sleep 300 & echo begun; sleep 300"
    async with Sandbox(sys.argv[1]).run(("/bin/sh", "-c", command), Path(sys.argv[2]), SandboxPolicy()) as running:
        print((await running.stdout.readline()).decode(), flush=True)
        await asyncio.sleep(300)

asyncio.run(main())
"""

pytestmark = pytest.mark.parametrize("tier", TIERS)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = (tmp_path / "workspace").resolve()
    folder.mkdir()
    return folder


def guard_of(running: Child) -> int:
    return int(Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[1])


def zombies() -> set[int]:
    """Children of this process that nobody has waited for."""
    return {child.pid for child in psutil.Process().children() if child.status() == psutil.STATUS_ZOMBIE}


async def run(tier: Tier, workspace: Path, command: str, policy: SandboxPolicy = PLAIN, **more: Any) -> Any:
    """Exit code, stdout, stderr, and what it was killed for."""
    async with Sandbox(tier).run(("/bin/sh", "-c", command), workspace, policy, **more) as running:
        out, err = await asyncio.gather(running.stdout.read(), running.stderr.read())
        return await running.wait(), out.decode(), err.decode(), running.killed


async def test_both_outputs_and_the_exit_code_come_through(tier: Tier, workspace: Path) -> None:
    """In the workspace, by its path outside."""
    assert await run(tier, workspace, "pwd; echo wrong >&2; exit 3") == (3, f"{workspace}\n", "wrong\n", None)


async def test_a_signal_is_told_as_a_negative_exit_code(tier: Tier, workspace: Path) -> None:
    """The same in both tiers."""
    assert (await run(tier, workspace, "kill -TERM $$"))[0] == -signal.SIGTERM


async def test_an_exit_code_that_means_a_signal_is_told_as_one(tier: Tier, workspace: Path) -> None:
    """As shells mean it, and the same in both tiers, of which bubblewrap could not tell the two apart."""
    for code, told in ((128, 128), (129, -1), (143, -15), (192, -64), (193, 193), (255, 255)):
        assert (await run(tier, workspace, f"exit {code}"))[0] == told


@pytest.mark.parametrize(
    ("argv", "environ", "said"),
    [
        (("/bin/echo", "a\0b"), {}, r"the argument 'a\\x00b' holds a NUL character"),
        (("/bin/echo", "\ud800"), {}, r"the argument '\\ud800' holds U\+D800, which is no character"),
        (("/bin/echo",), {"A": "\0"}, "the variable 'A' holds a NUL character"),
        (("/bin/echo", "x" * 3_000_000), {}, "Argument list too long"),
    ],
    ids=["nul", "surrogate", "environment", "too long"],
)
async def test_words_that_cannot_be_given_to_a_program_are_told(
    tier: Tier, workspace: Path, argv: tuple[str, ...], environ: dict[str, str], said: str
) -> None:
    """As an OSError, whose words are the reason."""
    with pytest.raises(OSError, match=said) as caught:
        async with Sandbox(tier).run(argv, workspace, PLAIN, environ=environ):
            raise AssertionError("it was started")
    assert caught.value.strerror


async def test_a_limit_that_is_no_number_for_the_kernel_is_told(tier: Tier, workspace: Path) -> None:
    """Nothing ran, and the reason comes through."""
    with pytest.raises(OSError, match="OverflowError"):
        async with Sandbox(tier).run(("/bin/true",), workspace, PLAIN.model_copy(update={"cpu_s": 10**20})):
            raise AssertionError("it was started")


async def test_a_guard_that_does_not_begin_is_told(
    tier: Tier, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With words, as any other reason."""
    monkeypatch.setattr("runcast_worker.sandbox.child.START_S", 0.0)
    with pytest.raises(TimeoutError, match="its guard has not started it in 0 s"):
        async with Sandbox(tier).run(("/bin/true",), workspace, PLAIN):
            raise AssertionError("it was started")


async def test_the_environment_is_an_allowlist_and_what_is_given(tier: Tier, workspace: Path) -> None:
    """Nothing of the worker's, and nothing on a command line where others could read it."""
    _, out, _, _ = await run(tier, workspace, "env", environ={"GIVEN": "yes"})
    names = {line.partition("=")[0] for line in out.splitlines()}
    assert {"GIVEN", "HOME", "PATH"} <= names
    assert names <= {"GIVEN", "HOME", "LANG", "PATH", "PWD", "TMPDIR", "SHLVL", "OLDPWD", "_"}


async def test_an_agents_variables_reach_its_command_alone(tier: Tier, workspace: Path) -> None:
    """Neither the guard nor bubblewrap is loaded with them: both are outside the sandbox. The loader complains once for
    every program that it cannot preload into."""
    environ = {"LD_PRELOAD": "/nowhere/planted.so"}
    async with Sandbox(tier).run(("/bin/echo", "hi"), workspace, PLAIN, environ=environ) as running:
        out, err = await asyncio.gather(running.stdout.read(), running.stderr.read())
    assert (out, err.count(b"planted.so")) == (b"hi\n", 1)


async def test_a_path_into_the_workspace_finds_the_commands_programs_alone(tier: Tier, workspace: Path) -> None:
    """Not the sandbox's own: a bwrap that lies in the workspace is none."""
    (workspace / "bin").mkdir()
    for name in ("bwrap", "tool"):
        (workspace / "bin" / name).write_text(f"#!/bin/sh\necho planted {name}\n")
        (workspace / "bin" / name).chmod(0o755)
    async with Sandbox(tier).run(("tool",), workspace, PLAIN, environ={"PATH": "bin:/usr/bin:/bin"}) as running:
        assert await running.stdout.read() == b"planted tool\n"


async def test_signals_are_as_a_program_expects_them(tier: Tier, workspace: Path) -> None:
    """The guard ignores some, Python others: a pipe whose reader left must end its writer."""
    _, out, _, _ = await run(tier, workspace, "grep SigIgn /proc/self/status; yes | head -n 1")
    ignored, yes = out.removeprefix("SigIgn:\t").split()
    # 32 and 33 are the C library's own: no program can set them, and whatever started us may have left them ignored.
    assert int(ignored, 16) & ~(0b11 << 31) == 0
    assert yes == "y"


async def test_a_program_that_is_not_there_cannot_be_started(tier: Tier, workspace: Path) -> None:
    """It is no exit code: nothing ran."""
    for program in ("no-such-program", "./no-such-program", "/usr/no-such-program"):
        with pytest.raises(FileNotFoundError):
            async with Sandbox(tier).run((program,), workspace, SandboxPolicy()):
                raise AssertionError("it was started")


async def test_a_program_outside_of_the_system_is_shown_by_the_policy(
    tier: Tier, workspace: Path, tmp_path: Path
) -> None:
    """bubblewrap does not show it otherwise, and the error says what to do."""
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\necho tool\n")
    tool.chmod(0o755)
    policies = [SandboxPolicy(read=(tmp_path,)), SandboxPolicy()]
    async with Sandbox(tier).run((str(tool),), workspace, policies[0]) as running:
        assert await running.stdout.read() == b"tool\n"
    if tier == "bubblewrap":
        with pytest.raises(FileNotFoundError, match=r"sandbox\.read"):
            async with Sandbox(tier).run((str(tool),), workspace, policies[1]):
                raise AssertionError("it was started")


async def test_a_command_that_is_given_the_network_has_it(tier: Tier, workspace: Path) -> None:
    """The other half of those escapes that try without."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    program = f"import socket; print(socket.create_connection(('127.0.0.1', {port})).recv(9))"
    policy = SEES_PYTHON.model_copy(update={"network": True})
    async with server, Sandbox(tier).run((PYTHON, "-I", "-S", "-c", program), workspace, policy) as running:
        assert await running.stdout.read() == b"b'hello'\n"


async def test_a_terminal_is_one_for_all_three(tier: Tier, workspace: Path) -> None:
    """A controlling terminal of a known size; its end is an end of file, and stderr is empty."""
    command = "stty size; test -t 0 && test -t 1 && test -t 2 && echo terminal >&2; echo > /dev/tty; stty -a"
    code, out, err, _ = await run(tier, workspace, command, tty=True)
    assert (code, err) == (0, "")
    assert out.startswith("40 120\nterminal\n\n")
    assert " -echo " in out


async def test_consumption_counts_those_that_have_ended(tier: Tier, workspace: Path) -> None:
    """Processor time of grandchildren whose parent did not wait for them, too."""
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    command = f"(setsid {PYTHON} -ISc '{burn}' &); sleep 1.2; exit 0"
    async with Sandbox(tier).run(("/bin/sh", "-c", command), workspace, SEES_PYTHON) as running:
        await wait_until(lambda: running.consumption().rss_bytes > 1024 * 1024)
        await running.wait()
        assert 0.25 < running.consumption().cpu_s < 2


async def test_a_workspace_that_is_over_its_limit_can_be_tidied_up(tier: Tier, workspace: Path) -> None:
    """What does not grow is let be; what grows on is stopped."""
    for number in range(4):
        (workspace / str(number)).write_bytes(b"x" * 1_000_000)
    policy = SandboxPolicy(disk_mb=1)
    assert await run(tier, workspace, "cat 1 > /dev/null; sleep 0.3; rm 1; sleep 0.2; echo fine", policy) == (
        *(0, "fine\n", "", None),
    )
    assert (await run(tier, workspace, "cp 2 5; sleep 5", policy))[3] == "disk"


async def test_the_search_works_in_each_tier(tier: Tier, workspace: Path) -> None:
    """Its program is Python's, which bubblewrap has to be shown."""
    (workspace / "a.txt").write_text("one\n")
    found = await scan(Surroundings(workspace, sandbox=Sandbox(tier)), {"glob": "*.txt", "limit": 9})
    assert found == {"files": ["a.txt"], "complete": True}


async def test_a_killed_worker_leaves_no_process(tier: Tier, workspace: Path) -> None:
    """By SIGKILL, which it cannot answer; a daemon and what ignores SIGTERM go too."""
    argv = (sys.executable, "-c", STAND_IN, tier, str(workspace))
    worker = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE)
    assert worker.stdout is not None
    try:
        assert await worker.stdout.readline() == b"begun\n"
        await wait_until(lambda: len(remains(workspace)) >= 4)  # the shell and three that sleep; maybe the guard
    finally:
        worker.kill()
        await worker.wait()
    await wait_until(lambda: not remains(workspace), 3, "a process outlived the worker")


async def test_a_killed_guard_takes_its_command_along(tier: Tier, workspace: Path) -> None:
    """As somebody else's kill -9, or the kernel's where memory is short; the call is told."""
    command = "sleep 300 & sleep 300 & echo begun; wait"
    async with Sandbox(tier).run(("/bin/sh", "-c", command), workspace, SandboxPolicy()) as running:
        assert await running.stdout.readline() == b"begun\n"
        os.kill(guard_of(running), signal.SIGKILL)
        assert await running.wait() == -signal.SIGKILL
        assert running.killed == "guard"
    await wait_until(lambda: not remains(workspace), 3, "a process outlived its guard")


async def test_a_killed_guard_takes_along_what_had_left_its_session(tier: Tier, workspace: Path) -> None:
    """Nobody is above it but the worker, which ends it with the call, and leaves no zombie."""
    command = "setsid sh -c 'setsid sleep 300 & sleep 300' & setsid env -i sleep 300 & sleep 0.2; echo begun; wait"
    if tier == "reduced" and seccomp.missing():
        pytest.skip("it cannot be told from others")
    before = zombies()
    async with Sandbox(tier).run(("/bin/sh", "-c", command), workspace, SandboxPolicy()) as running:
        assert await running.stdout.readline() == b"begun\n"
        assert len(remains(workspace)) >= 5
        os.kill(guard_of(running), signal.SIGKILL)
        await running.wait()
    if tier == "reduced":  # else the kernel ends it, in its own time
        assert not remains(workspace)
        assert zombies() <= before
    await wait_until(lambda: not remains(workspace), 3, "a process outlived its guard")


async def test_a_stopped_guard_is_replaced_by_force(
    tier: Tier, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot hold up the end of the call."""
    monkeypatch.setattr("runcast_worker.sandbox.child.GRACE_S", 0.1)
    monkeypatch.setattr("runcast_worker.sandbox.child.END_S", 0.3)
    async with Sandbox(tier).run(("/bin/sleep", "300"), workspace, SandboxPolicy()) as running:
        os.kill(guard_of(running), signal.SIGSTOP)
    await wait_until(lambda: not remains(workspace), 3, "a process outlived its guard")


@pytest.mark.skipif(not NODE.is_file(), reason="no node here")
async def test_a_program_that_reserves_much_and_uses_little_runs(tier: Tier, workspace: Path) -> None:
    """V8 reserves gigabytes of address space: only what is used counts."""
    policy = SandboxPolicy(read=(NODE.parents[1],), memory_mb=512)
    async with Sandbox(tier).run((str(NODE), "-e", "console.log(6*7)"), workspace, policy) as running:
        assert await running.stdout.read() == b"42\n"
