"""The filter of system calls: what it answers, asked here without a kernel, and that ordinary programs live with it."""

import asyncio
import errno
import shutil
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runcast_agents import SandboxPolicy
from runcast_worker.guard import seccomp
from runcast_worker.sandbox import Sandbox

ALLOWED, KILLED = 0x7FFF0000, 0x80000000
NAMES = sorted(seccomp.MACHINES)
WORDS = st.integers(0, 2**64 - 1)
PYTHON = str(Path(sys.executable).resolve())


def answer(program: bytes, number: int, audit: int, arguments: tuple[int, ...] = ()) -> int:
    """As the kernel runs it (classic BPF): what comes of a call."""
    data = struct.pack("=IIQ6Q", number, audit, 0, *arguments, *(0,) * (6 - len(arguments)))
    code = [struct.unpack_from("=HBBI", program, at) for at in range(0, len(program), 8)]
    at = held = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        match operation:
            case 0x20:
                (held,) = struct.unpack_from("=I", data, value)
            case 0x15 | 0x35:
                at += if_true if (held == value if operation == 0x15 else held >= value) else if_false
            case 0x06:
                return value


def refused(number: int) -> int:
    return 0x00050000 | number


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("network", [True, False])
def test_what_reaches_others_is_refused_and_what_is_its_own_is_not(name: str, network: bool) -> None:
    """On each machine whose numbers are known, this one or not; the upper half of an int argument says nothing."""
    audit, numbers = seccomp.MACHINES[name]
    program = seccomp.program(name, network)

    def ask(call: str, *arguments: int) -> int:
        return answer(program, numbers[call], audit, arguments)

    for call in ("prlimit64", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr"):
        assert (ask(call, 0, 7), ask(call, 77, 0)) == (ALLOWED, refused(errno.EPERM)), call
        assert ask(call, 77 | 5 << 32, 0) == refused(errno.EPERM)
    assert [ask("setpriority", which, who) for which, who in ((0, 0), (1, 0), (2, 0), (0, 9), (1, 9))] == [
        *(ALLOWED,) * 2,
        *(refused(errno.EPERM),) * 3,
    ]
    assert [ask("ioprio_set", which, who) for which, who in ((1, 0), (2, 0), (3, 0), (1, 9), (2, 9))] == [
        *(ALLOWED,) * 2,
        *(refused(errno.EPERM),) * 3,
    ]
    closed = ALLOWED if network else refused(errno.EACCES)
    assert [ask("socket", family) for family in (1, 16, 2, 10, 17, 40, 43)] == [ALLOWED, ALLOWED, *(closed,) * 5]
    assert ask("io_uring_setup", 8) == (ALLOWED if network else refused(errno.ENOSYS))


@pytest.mark.parametrize("name", NAMES)
@given(number=st.integers(0, 2**32 - 1), arguments=st.tuples(WORDS, WORDS, WORDS, WORDS, WORDS, WORDS))
def test_every_other_call_is_let_be(name: str, number: int, arguments: tuple[int, ...]) -> None:
    """But the second numbering of x86; and a program of another machine is killed, whatever it calls."""
    audit, numbers = seccomp.MACHINES[name]
    program = seccomp.program(name, network=False)
    assert answer(program, number, audit ^ 1, arguments) == KILLED
    if number not in numbers.values() or number == numbers["seccomp"]:
        expected = ALLOWED if number < 0x40000000 else refused(errno.ENOSYS)
        assert answer(program, number, audit, arguments) == expected


@pytest.mark.skipif(seccomp.missing() is not None, reason="no filter here")
@pytest.mark.parametrize(
    "command",
    [
        f"{PYTHON} -c 'import asyncio, multiprocessing as m; asyncio.run(asyncio.sleep(0)); "
        "p = m.Process(target=print); p.start(); p.join(); assert p.exitcode == 0'",
        """node -e 'new (require("worker_threads").Worker)("1", {eval: true}).on("exit", process.exit)'""",
        "npm --version",
        f"{PYTHON} -m pip --version",
        "git init -q . && git add . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m x && git gc -q",
        "mkdir a && touch a/b && chmod +x a/b && tar czf a.tgz a && rm -r a && tar xzf a.tgz && test -x a/b",
        "nice -n 3 sh -c 'ulimit -n 100; ulimit -c 0' && taskset 1 true",
    ],
    ids=lambda command: command.split("/")[-1].split()[0],
)
async def test_ordinary_programs_live_with_it(command: str, tmp_path: Path) -> None:
    """In the reduced tier, without the network."""
    if shutil.which(command.split()[0]) is None:
        pytest.skip("not installed")
    async with Sandbox("reduced").run(("/bin/sh", "-c", command), tmp_path, SandboxPolicy()) as running:
        said = await asyncio.gather(running.stdout.read(), running.stderr.read())
        assert await running.wait() == 0, said


@pytest.mark.skipif(seccomp.missing() is not None, reason="no filter here")
async def test_a_command_is_filtered_and_its_guard_is_not(tmp_path: Path) -> None:
    """The kernel says so of both."""
    own = filters()
    command = "cat /proc/self/status /proc/$PPID/status"
    async with Sandbox("reduced").run(("/bin/sh", "-c", command), tmp_path, SandboxPolicy()) as running:
        assert filters((await running.stdout.read()).decode()) == ["2", str(int(own[1]) + 1), *own]


def filters(status: str | None = None) -> list[str]:
    """Whether there are any (0 or 2), and how many; without a status those of this process."""
    status = Path("/proc/self/status").read_text() if status is None else status
    return [line.split()[1] for line in status.splitlines() if line.startswith("Seccomp")]
