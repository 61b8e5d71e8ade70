"""Runs a server, as its parent, and leaves nothing of it: `python keeper.py <descriptor> <place> <command> …`.

The descriptor is the end of a pipe from the worker: `t` means SIGTERM to all that the server has become, the pipe's end
SIGKILL: the attempt is over, or the worker is dead, by SIGKILL too. A sandbox's guard does the same and much besides,
but its commands have no stdin. The server dies with its keeper as well.

It is started in a folder of its own, empty and made in `place`, which goes when all of it has ended: see
runcast_worker.mcp.folder.
"""

import os
import select
import shutil
import signal
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    # It is run as a file, without site-packages: importing runcast_worker.mcp would load all of the SDK.
    sys.path.append(str(Path(__file__).parents[2]))

from runcast_worker.guard import kernel, tree

LOOK_S = 0.05
"""Where the kernel cannot tell of the server's end."""
CANNOT_RUN = 127
FOLDER = "runcast-mcp-"
KILLED = 128
"""And the signal's number: how an exit code says it."""
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


def main() -> None:
    life, place, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    os.set_inheritable(life, False)
    kernel.adopt_orphans()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    try:
        folder = tempfile.mkdtemp(prefix=FOLDER, dir=place)
    except OSError as error:
        os.write(2, f"{place}: {error.strerror}\n".encode())
        os._exit(CANNOT_RUN)
    server = _start(command, folder)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):  # else the worker would not see the end of what the server says
        os.dup2(nothing, descriptor)
    status = _watch(life, server)
    ended = tree.end(server, ended_before=status is not None)
    shutil.rmtree(folder, ignore_errors=True)
    status = ended if status is None else status
    code = -signal.SIGKILL if status is None else os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else KILLED - code)


def _start(command: list[str], folder: str) -> int:
    keeper = os.getpid()
    server = os.fork()
    if server:
        return server
    try:
        os.setsid()
        kernel.die_with_parent(signal.SIGKILL)
        if os.getppid() == keeper:  # else it was killed before it could be died with
            for number in (*_IGNORED, signal.SIGPIPE, signal.SIGXFSZ):  # the last two Python ignores
                signal.signal(number, signal.SIG_DFL)
            os.chdir(folder)
            os.environ.setdefault("TMPDIR", folder)  # the system's own may be open to commands
            os.execvp(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_RUN)


def _watch(life: int, server: int) -> int | None:
    """Until the server ends: its wait status; or until the worker wants it to end."""
    alive = select.poll()
    alive.register(life, select.POLLIN | select.POLLHUP)
    try:
        alive.register(os.pidfd_open(server), select.POLLIN)
        look_ms = None
    except OSError:
        look_ms = LOOK_S * 1000
    while True:
        ready = {descriptor for descriptor, _ in alive.poll(look_ms)}
        if life in ready:
            if not os.read(life, 16):
                return None
            for process in tree.below(os.getpid()):
                tree.send(process.pid, signal.SIGTERM)
        try:
            status = tree.reap(server)
        except ChildProcessError:
            return None
        if status is not None:
            return status


if __name__ == "__main__":
    main()
