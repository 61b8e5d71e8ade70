"""What is left of a command whose guard was killed."""

import contextlib
import os
import signal
from time import monotonic, sleep

ROUNDS_S = 2.0


def end_session(leader: int) -> None:
    """SIGKILL to every process of a session, until there is none."""
    deadline = monotonic() + ROUNDS_S
    while monotonic() < deadline and (found := _session(leader)):
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        sleep(0.005)


def _session(leader: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
                if int(fields[3]) == leader and fields[0] not in (b"Z", b"X"):
                    found.append(int(name))
    return found


def is_stopped(pid: int) -> bool:
    """By a SIGSTOP."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] in (b"T", b"t")
    except (OSError, IndexError):
        return False
