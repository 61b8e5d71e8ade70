"""The system calls that Python has no function for."""

import ctypes
import os

_libc = ctypes.CDLL(None, use_errno=True)

_PDEATHSIG, _DUMPABLE, _SECCOMP, _CAPBSET_DROP, _SUBREAPER, _NO_NEW_PRIVS, _AMBIENT = 1, 4, 22, 24, 36, 38, 47
_SECCOMP_FILTER = 2
_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522


def _prctl(option: int, value: int = 0) -> bool:
    return int(_libc.prctl(option, *(ctypes.c_ulong(number) for number in (value, 0, 0, 0)))) == 0


def die_with_parent(number: int) -> None:
    """This process is sent the signal when the thread that made it ends."""
    _prctl(_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Descendants whose parent ended become this process's children, also after setsid and a double fork."""
    _prctl(_SUBREAPER, 1)


def undumpable() -> None:
    """Processes of the same user can no longer trace this one, nor read its environment or descriptors."""
    _prctl(_DUMPABLE, 0)


def no_new_privileges() -> None:
    """No program that this process becomes gains any: sudo and the like do not work."""
    _prctl(_NO_NEW_PRIVS, 1)


def drop_capabilities() -> None:
    """All of them, for ever. Without root there are none."""
    _prctl(_AMBIENT, _AMBIENT_CLEAR_ALL)
    number = 0
    while _prctl(_CAPBSET_DROP, number):
        number += 1
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _libc.capset(header, (ctypes.c_uint32 * 6)())


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("code", ctypes.c_char_p))


def filter_calls(program: bytes) -> None:
    """Have the kernel ask this program (classic BPF, 8 bytes an instruction) about every system call of this process
    and its descendants. Raises OSError."""
    asked = _Filter(len(program) // 8, program)
    if _libc.prctl(
        _SECCOMP, ctypes.c_ulong(_SECCOMP_FILTER), ctypes.byref(asked), ctypes.c_ulong(0), ctypes.c_ulong(0)
    ):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def syscall(number: int, *arguments: object) -> int:
    """For calls that the C library has no function for. Raises OSError."""
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
