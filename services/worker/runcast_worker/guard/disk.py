"""How much a workspace takes on disk: walked in small slices, so that measuring costs little however large it is."""

import contextlib
import os
from collections.abc import Generator
from time import monotonic

ENTRY_BYTES = 4096
"""What a file counts at least: many empty ones fill a disk too."""
REST_S = 2.0
"""At the least this often it is walked, whatever the free space says: others take and give it too."""
DEPTH = 200
"""Folders within folders; deeper than this is no workspace but an attempt to hide in it."""
HURRY = 16
"""A slice is so many times longer while the file system loses a part of the limit that matters: whoever makes the walk
long, by a million links, would else write unseen for as long."""
HURRY_S = 0.02
"""And no longer than this: the guard has other duties."""
_READABLE = 0o500
_FOLDER = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Measure:
    """Call `step` often, and `close` at the end. `grown_over` tells when the workspace is over its limit and grows: one
    that was over before, or shrinks, is let be, so that it can be tidied up."""

    def __init__(self, folder: str, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._walk = self.sizes()
        self._total = 0
        self._last: int | None = None
        self._walking = False
        self._free: tuple[int, int] | None = None
        self._due = 0.0
        self.grown_over = False

    def step(self, slice_s: float) -> None:
        """Walk on for about `slice_s`. A walk does not begin while the file system's free space stays as it was."""
        if not self._walking and not self._changed():
            return
        until = monotonic() + (min(slice_s * HURRY, HURRY_S) if self._walking and self._falls() else slice_s)
        self._walking = True
        for size in self._walk:
            self._total += size
            if self._last is not None and self._total > max(self._limit, self._last):
                self.grown_over = True
                return
            if monotonic() > until:
                return
        self._walking = False
        self._last, self._total = self._total, 0
        self._walk = self.sizes()

    def close(self) -> None:
        """Folders are left as they were found."""
        self._walk.close()

    def _changed(self) -> bool:
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return False
        free, now = (found.f_bfree, found.f_ffree), monotonic()
        if free == self._free and now < self._due:
            return False
        self._free, self._due = free, now + REST_S
        return True

    def _falls(self) -> bool:
        """Since this walk began."""
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return False
        return self._free is not None and (self._free[0] - found.f_bfree) * found.f_frsize > self._limit / 8

    def sizes(self) -> Generator[int, None, None]:
        """Of every entry below the folder, 0 for one that does not count: whoever waits is never kept long. By
        descriptors: a path can be longer than any call takes."""
        seen: set[tuple[int, int]] = set()
        stack: list[_Folder] = []
        hidden = self._limit + ENTRY_BYTES
        try:
            yield 0 if _enter(stack, self._folder, None) else hidden
            while stack:
                entry = stack[-1].next()
                if entry is None:
                    stack.pop().leave()
                    continue
                try:
                    found = stack[-1].stat(entry)
                except PermissionError:
                    yield hidden
                    continue
                except OSError:  # gone
                    yield 0
                    continue
                is_folder = (found.st_mode & 0o170000) == 0o040000
                if found.st_nlink > 1 and not is_folder:
                    if (found.st_dev, found.st_ino) in seen:
                        yield 0
                        continue
                    seen.add((found.st_dev, found.st_ino))
                yield max(found.st_blocks * 512, ENTRY_BYTES)
                if is_folder and (len(stack) >= DEPTH or not _enter(stack, entry.name, stack[-1].opened)):
                    yield hidden
        finally:
            for folder in stack:
                folder.leave()


class _Folder:
    """Open, and read little by little: one listing of a huge one would take seconds. Where its owner may not list it,
    which is the user of worker and command, he may for as long as we look: else a command would hide there."""

    __slots__ = ("_entries", "_mode", "opened")

    def __init__(self, name: str, parent: int | None) -> None:
        self._mode: int | None = None
        try:
            self.opened = os.open(name, os.O_RDONLY | _FOLDER, dir_fd=parent)
        except PermissionError:
            pinned = os.open(name, os.O_PATH | _FOLDER, dir_fd=parent)
            try:
                self._mode = _unlock(pinned)
                self.opened = os.open(".", os.O_RDONLY | _FOLDER, dir_fd=pinned)
            finally:
                os.close(pinned)
        self._entries = os.scandir(self.opened)

    def next(self) -> "os.DirEntry[str] | None":
        try:
            return next(self._entries, None)
        except OSError:
            return None

    def stat(self, entry: "os.DirEntry[str]") -> os.stat_result:
        try:
            return entry.stat(follow_symlinks=False)
        except PermissionError:
            mode = _unlock(self.opened)
            self._mode = mode if self._mode is None else self._mode
            return entry.stat(follow_symlinks=False)

    def leave(self) -> None:
        self._entries.close()
        if self._mode is not None:
            with contextlib.suppress(OSError):
                if os.fstat(self.opened).st_mode & 0o7777 == self._mode | _READABLE:  # else somebody set it meanwhile
                    os.fchmod(self.opened, self._mode)
        os.close(self.opened)


def _unlock(folder: int) -> int:
    """Returns what its mode was. By the descriptor: at its name there may be a symlink by now, to what is not ours."""
    mode = os.fstat(folder).st_mode & 0o7777
    os.chmod(f"/proc/self/fd/{folder}", mode | _READABLE)  # which fchmod cannot for O_PATH
    return mode


def _enter(stack: list[_Folder], name: str, parent: int | None) -> bool:
    """False: it is closed to us."""
    try:
        stack.append(_Folder(name, parent))
    except PermissionError:
        return False
    except OSError:
        pass  # gone
    return True
