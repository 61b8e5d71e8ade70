"""A filter of system calls for the reduced tier: what Landlock has no right for, refused by the kernel for good.

Where bubblewrap works its namespaces do this. A filter sees the numbers that a call is given, no memory and no paths;
it can tell this process (0) from any other, not which other. https://docs.kernel.org/userspace-api/seccomp_filter.html
"""

import ctypes
import errno
import os
import struct
import sys

from runcast_worker.guard import kernel

_ERRNO, _KILL, _ALLOW = 0x00050000, 0x80000000, 0x7FFF0000
_ASK_ACTION = 2
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_NUMBER_AT, _MACHINE_AT, _ARGUMENTS_AT = 0, 4, 16
_X32 = 0x40000000
"""From here on x86 has its calls a second time, under other numbers."""

MACHINES: dict[str, tuple[int, dict[str, int]]] = {
    "x86_64": (
        0xC000003E,
        {
            "prlimit64": 302,
            "sched_setparam": 142,
            "sched_setscheduler": 144,
            "sched_setaffinity": 203,
            "sched_setattr": 314,
            "setpriority": 141,
            "ioprio_set": 251,
            "socket": 41,
            "io_uring_setup": 425,
            "seccomp": 317,
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            "prlimit64": 261,
            "sched_setparam": 118,
            "sched_setscheduler": 119,
            "sched_setaffinity": 122,
            "sched_setattr": 274,
            "setpriority": 140,
            "ioprio_set": 30,
            "socket": 198,
            "io_uring_setup": 425,
            "seccomp": 277,
        },
    ),
}
"""How the kernel calls the machine (AUDIT_ARCH), and the numbers of its calls."""

_Rule = tuple[str, tuple[tuple[int, tuple[int, ...]], ...], int]
_OTHERS: tuple[_Rule, ...] = (
    *(
        (call, ((0, (0,)),), errno.EPERM)
        for call in ("prlimit64", "sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr")
    ),
    ("setpriority", ((0, (0, 1)), (1, (0,))), errno.EPERM),  # itself or its process group, not a whole user
    ("ioprio_set", ((0, (1, 2)), (1, (0,))), errno.EPERM),
)
"""A call, which of its arguments may have which values only, and the error else. None of these asks for more than the
same user: with a limit of 0 a command could break its guard and the worker."""
_UNIX, _NETLINK = 1, 16
_NETWORK: tuple[_Rule, ...] = (
    # A list of what is allowed: also MPTCP, SMC, VSOCK and UDP lead out, and a send can connect.
    ("socket", ((0, (_UNIX, _NETLINK)),), errno.EACCES),
    ("io_uring_setup", ((0, ()),), errno.ENOSYS),  # opens sockets past any filter
)


def machine() -> str:
    """As MACHINES has it, or another word."""
    return os.uname().machine if sys.maxsize > 2**32 else "32 bit"


def missing() -> str | None:
    """Why there is no filter here; None: there is."""
    known = MACHINES.get(machine())
    if known is None:
        return f"no system call numbers for the machine {machine()!r} are known"
    try:
        kernel.syscall(known[1]["seccomp"], ctypes.c_uint(_ASK_ACTION), ctypes.c_uint(0), _word(_ERRNO))
    except OSError as error:
        return f"the kernel has none ({error.strerror})"
    return None


def restrict(network: bool) -> None:
    """Of this process and its descendants: no limit and no priority of any process but itself, and without `network` no
    sockets but those of this machine's processes. Needs no_new_privileges. Raises OSError."""
    if missing() is None:
        kernel.filter_calls(program(machine(), network))


def program(name: str, network: bool) -> bytes:
    """The filter, for a machine of MACHINES. A program for another machine (32 bit) is killed: it numbers otherwise."""
    audit, numbers = MACHINES[name]
    code = [
        *((_LOAD, 0, 0, _MACHINE_AT), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL)),
        *((_LOAD, 0, 0, _NUMBER_AT), (_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)),
    ]
    for call, arguments, error in _OTHERS + (() if network else _NETWORK):
        refused = (_RETURN, 0, 0, _ERRNO | error)
        body: list[tuple[int, int, int, int]] = []
        for index, allowed in arguments:
            # The lower half of the argument, on machines whose lower half comes first; all of these take an int.
            body.append((_LOAD, 0, 0, _ARGUMENTS_AT + 8 * index))
            body += ((_EQUAL, len(allowed) - at, 0, value) for at, value in enumerate(allowed))
            body.append(refused)
        code += [(_EQUAL, 0, len(body) + 1, numbers[call]), *body, (_RETURN, 0, 0, _ALLOW)]
    code.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _word(value: int) -> object:
    return ctypes.byref(ctypes.c_uint32(value))
