"""Runs a command that dies with the process that started it: `python leash.py <pid of the parent> <command> …`.

A supervisor that is killed (-9) cannot end its children; the kernel can: the parent death signal outlives exec. A small
program sets it, and not Popen's preexec_fn: that runs Python between fork and exec, which may deadlock where there are
threads. Trap: the kernel sends it when the *thread* that forked ends, so children are started from the main thread.
Linux only; elsewhere the command runs all the same, and a killed supervisor leaves it behind.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, *command = sys.argv[1:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):
        sys.exit("the parent ended before its child began")
    try:
        os.execvp(command[0], command)  # noqa: S606 - this is its purpose
    except OSError as error:
        sys.exit(f"{command[0]}: cannot be run: {error.strerror}")


if __name__ == "__main__":
    main()
