"""One call at a time writes a workspace's files, of whichever session or worker it is: sessions may share one."""

import asyncio
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from weakref import WeakValueDictionary

from runcast_worker.tools import ToolFailed

T = TypeVar("T")

WAIT_S = 5.0
"""Another process that holds a workspace for this long is not waited for: it may be one that an agent started."""
_LOOK_S = 0.01
_NO_LOCKS = frozenset((errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP))
"""What file systems say that cannot lock a folder, such as NFS."""

_turns: WeakValueDictionary[Path, asyncio.Lock] = WeakValueDictionary()
"""By workspace, as long as somebody waits: those of this process queue here, without a thread each."""


async def in_turn(workspace: Path, change: Callable[[], T]) -> T:
    """What `change` returns; it is run in a thread. `workspace`: resolved. Raises ToolFailed, OSError."""
    turn = _turns.setdefault(workspace, asyncio.Lock())
    async with turn:
        return await asyncio.to_thread(_locked, workspace, change)


def _locked(workspace: Path, change: Callable[[], T]) -> T:
    # In the thread, since a call that is cancelled leaves its thread at work: the next one waits for it here.
    folder = os.open(workspace, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _lock(folder)
        return change()
    finally:
        os.close(folder)  # the lock goes with it


def _lock(folder: int) -> None:
    until = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= until:
                message = f"another process has locked the workspace for {WAIT_S:g} s; nothing was written. Try again"
                raise ToolFailed("failed", message) from None
            time.sleep(_LOOK_S)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            return
