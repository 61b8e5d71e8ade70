"""Landlock: what the kernel takes from a process for good without asking for root or a namespace.

Used where bubblewrap is not. Reading stays open: what an agent's command needs to read is not known here.
https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
from collections.abc import Iterable

from runcast_worker.guard.kernel import syscall

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_ASK_VERSION = 1
_PATH_BENEATH = 1
_WRITES = {1: 0x1FF2, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""By the version that brought them: writing, removing and making anything; moving between folders; truncating; setting
a device, which asks for no writing."""
_FILE_WRITES = 1 << 1 | 1 << 14 | 1 << 15
_TCP = 0b11
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def version() -> int:
    """What this kernel knows; 0: nothing. 1: files. 4: TCP. 5: devices. 6: signals and abstract sockets."""
    try:
        return syscall(_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    except OSError:
        return 0


def restrict(writable: Iterable[str], network: bool) -> None:
    """Of this process and its descendants: write nowhere but below `writable`, signal nobody else, and without
    `network` no TCP. As far as the kernel can; needs no_new_privileges. Raises OSError."""
    known = version()
    if not known:
        return
    writes = sum(rights for since, rights in _WRITES.items() if since <= known)
    tcp = _TCP if known >= 4 and not network else 0
    scoped = _ABSTRACT_SOCKETS_AND_SIGNALS if known >= 6 else 0
    size = 24 if known >= 6 else 16 if known >= 4 else 8
    ruleset = syscall(_CREATE, ctypes.byref(_Ruleset(writes, tcp, scoped)), ctypes.c_size_t(size), ctypes.c_uint32(0))
    for path in writable:
        try:
            target = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        allowed = writes if os.path.isdir(path) else writes & _FILE_WRITES
        rule = _Beneath(allowed, target)
        syscall(_ADD, ctypes.c_int(ruleset), ctypes.c_int(_PATH_BENEATH), ctypes.byref(rule), ctypes.c_uint32(0))
        os.close(target)
    syscall(_RESTRICT, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    os.close(ruleset)
