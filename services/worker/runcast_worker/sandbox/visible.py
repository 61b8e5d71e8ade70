"""Which programs bubblewrap shows to a command: it says that one is missing only in the command's output, and late."""

import errno
import os
from pathlib import Path

from runcast_agents import SandboxPolicy
from runcast_worker.sandbox.bubblewrap import SYSTEM


def check_program(program: str, workspace: Path, policy: SandboxPolicy, path: str, bubblewrap: str) -> None:
    """Raises FileNotFoundError, which tells what to do about a program that is there but not shown."""
    if not os.access(bubblewrap, os.X_OK):
        raise FileNotFoundError(errno.ENOENT, f"{bubblewrap} is no longer there", bubblewrap)
    shown = [Path("/usr"), *map(Path, SYSTEM), workspace, *policy.read]
    if "/" in program:
        candidates = [str(workspace / program)]
    else:
        candidates = [os.path.join(workspace, folder, program) for folder in path.split(os.pathsep) if folder]
    there = [candidate for candidate in candidates if os.path.isfile(candidate) and os.access(candidate, os.X_OK)]
    if any(_within(candidate, shown) for candidate in there):
        return
    if there:
        said = f"{there[0]} is not shown to commands; add its folder to sandbox.read of the agent"
        raise FileNotFoundError(errno.ENOENT, said, program)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), program)


def _within(path: str, shown: list[Path]) -> bool:
    """The path, and where it leads."""
    return all(
        any(Path(name).is_relative_to(folder) for folder in shown)
        for name in (os.path.normpath(path), os.path.realpath(path))
    )
