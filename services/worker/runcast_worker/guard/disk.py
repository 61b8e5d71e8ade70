"""How much a workspace takes on disk: walked in small slices, so that measuring costs little however large it is."""

import os
from collections.abc import Iterator
from time import monotonic

ENTRY_BYTES = 4096
"""What a file counts at least: many empty ones fill a disk too."""
REST_S = 2.0
"""At the least this often it is walked, whatever the free space says: others take and give it too."""
DEPTH = 200
"""Folders within folders; deeper than this is no workspace but an attempt to hide in it."""


class Measure:
    """Call `step` often. `grown_over` tells when the workspace is over its limit and grows: one that was over before,
    or shrinks, is let be, so that it can be tidied up."""

    def __init__(self, folder: str, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._walk = self._sizes()
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
        self._walking = True
        until = monotonic() + slice_s
        for size in self._walk:
            self._total += size
            if self._last is not None and self._total > max(self._limit, self._last):
                self.grown_over = True
                return
            if monotonic() > until:
                return
        self._walking = False
        self._last, self._total = self._total, 0
        self._walk = self._sizes()

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

    def _sizes(self) -> Iterator[int]:
        """Of every entry below the folder. By descriptors: a path can be longer than any call takes."""
        seen: set[tuple[int, int]] = set()
        stack: list[tuple[int, list[str]]] = []
        try:
            self._enter(stack, self._folder, None)
            while stack:
                folder, names = stack[-1]
                if not names:
                    os.close(stack.pop()[0])
                    continue
                name = names.pop()
                try:
                    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                except OSError:
                    continue
                if found.st_nlink > 1 and not _is_folder(found):
                    if (found.st_dev, found.st_ino) in seen:
                        continue
                    seen.add((found.st_dev, found.st_ino))
                yield max(found.st_blocks * 512, ENTRY_BYTES)
                if _is_folder(found):
                    if len(stack) >= DEPTH:
                        yield self._limit + ENTRY_BYTES
                        continue
                    self._enter(stack, name, folder)
        finally:
            for folder, _ in stack:
                os.close(folder)

    @staticmethod
    def _enter(stack: list[tuple[int, list[str]]], name: str, folder: int | None) -> None:
        try:
            opened = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        except OSError:
            return  # gone, or closed to us
        try:
            stack.append((opened, os.listdir(opened)))
        except OSError:
            os.close(opened)


def _is_folder(found: os.stat_result) -> bool:
    return (found.st_mode & 0o170000) == 0o040000
