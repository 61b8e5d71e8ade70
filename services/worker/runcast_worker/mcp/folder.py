"""Where the folder that a server is started in is made.

Programs look around the folder they are started in: for modules (`python -m`), packages (`npx`), settings. So it, and
all above it, must be what no command of an agent can write to. Without bubblewrap those write to the temporary folders
too, by the worker's own user.
"""

import errno
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

OPEN = tuple(Path(path) for path in ("/tmp", "/var/tmp", "/dev/shm"))  # noqa: S108 - see runcast_worker.guard.command
"""To every command in the reduced sandbox."""


def place(environ: Mapping[str, str], workspace: Path, *, reduced: bool) -> Path:
    """A folder to make it in: the user's for caches; with bubblewrap the temporary one where there is no other.
    `reduced`: commands are held without bubblewrap. Raises OSError."""
    for candidate in _candidates(environ, reduced=reduced):
        try:
            candidate.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = candidate.resolve()
        except OSError:
            continue
        theirs = (workspace, *OPEN) if reduced else (workspace,)
        if os.access(found, os.W_OK | os.X_OK) and not any(found.is_relative_to(folder) for folder in theirs):
            return found
    said = "no folder to start it in: expected a HOME of the worker that it can write to, and commands of agents cannot"
    raise OSError(errno.EACCES, said)


def _candidates(environ: Mapping[str, str], *, reduced: bool) -> Iterator[Path]:
    home = environ.get("HOME") or os.path.expanduser("~")
    for path in (environ.get("XDG_CACHE_HOME", ""), os.path.join(home, ".cache")):
        if os.path.isabs(path):
            yield Path(path)
    if not reduced:
        yield Path(tempfile.gettempdir())
