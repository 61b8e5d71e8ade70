"""Runs a command that dies with the worker that started it: `python leash.py <pid of the worker> <command> …`.

A program of its own, and not Popen's preexec_fn, which runs Python between fork and exec. The kernel kills the command
when the worker is killed; whatever the command started sees its stdin end. Trap: it is the death of the *thread* that
forked, so servers are started from the loop in the main thread. https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
CANNOT_RUN = 127


def main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the worker ended before its server began")
    try:
        os.execvp(command[0], command)  # noqa: S606 - this is its purpose
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - it is read by the worker
        sys.exit(CANNOT_RUN)


if __name__ == "__main__":
    main()
