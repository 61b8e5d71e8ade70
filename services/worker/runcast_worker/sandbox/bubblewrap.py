"""bubblewrap's command line: a command sees the system read-only, its workspace, and nothing else of the machine.

https://github.com/containers/bubblewrap; each option was tried with 0.8.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from runcast_agents import SandboxPolicy

PROGRAM = "bwrap"
STRICT = ("--disable-userns",)
"""Where bubblewrap knows it (0.8): no user namespace in the user namespace, which keeps much of the kernel away."""
TEMPORARY_MB = 256
"""Of /tmp and of /dev/shm, each; it is memory."""
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "passwd", "group", "nsswitch.conf", "localtime"),
    *("ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/ca-trust/extracted"),
    *("mime.types", "protocols", "services", "os-release", "magic", "terminfo", "fonts"),
)
ETC_NETWORK = ("resolv.conf", "hosts", "host.conf", "gai.conf")


def wrapped(
    argv: Sequence[str], workspace: Path, policy: SandboxPolicy, *, tty: bool, program: str, flags: Sequence[str]
) -> tuple[str, ...]:
    """The command within bubblewrap, which is this `program`. Its environment is the guard's to give (command.py)."""
    size = str(min(TEMPORARY_MB, policy.memory_mb, policy.disk_mb) * 1024 * 1024)
    etc = (*ETC, *(ETC_NETWORK if policy.network else ()))
    folder = str(workspace)
    return (
        program,
        *("--unshare-all", "--unshare-user", *flags, "--die-with-parent", "--cap-drop", "ALL"),
        *(("--share-net",) if policy.network else ()),
        *(() if tty else ("--new-session",)),  # with a terminal of its own it leads a session already
        *(("--ro-bind", "/", "/") if Path("/") in policy.read else ()),
        *("--ro-bind", "/usr", "/usr"),
        *(word for path in SYSTEM for word in _system(path)),
        *(word for name in etc for word in ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")),
        # Else a command of a root worker's could write the host's kernel settings: they ask for uid 0 alone.
        *("--proc", "/proc", "--remount-ro", "/proc"),
        *("--dev", "/dev", "--size", size, "--tmpfs", "/dev/shm", "--remount-ro", "/dev"),  # noqa: S108
        *("--size", size, "--tmpfs", "/tmp"),  # noqa: S108
        *(word for path in policy.read if path != Path("/") for word in ("--ro-bind-try", str(path), str(path))),
        *("--bind", folder, folder, "--chdir", folder, "--remount-ro", "/"),
        "--",
        *argv,
    )


def _system(path: str) -> tuple[str, ...]:
    """As the host has it: a folder, or a symlink into /usr."""
    if os.path.islink(path):
        return ("--symlink", os.readlink(path), path)
    return ("--ro-bind", path, path) if os.path.isdir(path) else ()
