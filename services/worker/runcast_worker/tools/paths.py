"""Paths that an agent gives: relative, and inside its workspace whatever symlinks there are."""

import contextlib
import os
import secrets
import stat
from pathlib import Path

from runcast_worker.tools import ToolFailed


def inside(workspace: Path, path: str) -> tuple[str, ...]:
    """The parts of a path below the workspace, symlinks resolved; () is the workspace. Raises ToolFailed."""
    if not path or "\0" in path or len(path) > 4096:
        raise ToolFailed("invalid_path", "expected a path of 1 to 4096 characters without NUL")
    if os.path.isabs(path):
        raise ToolFailed("outside_workspace", f"{path!r} is absolute; expected a path relative to the workspace")
    if ".." in Path(path).parts:
        raise ToolFailed("outside_workspace", f"{path!r} contains '..'; expected a path below the workspace")
    try:
        real = Path(os.path.realpath(workspace / path))
        return real.relative_to(workspace).parts
    except ValueError:
        raise ToolFailed("outside_workspace", f"{path!r} leads out of the workspace") from None


def open_folder(workspace: Path, parts: tuple[str, ...], *, make: bool = False) -> int:
    """A descriptor of a folder below the workspace. Raises OSError.

    `parts` comes from `inside`, so none was a symlink then; walking by descriptors without following any keeps it so,
    also when somebody swaps a folder for a symlink meanwhile.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    folder = os.open(workspace, flags)
    for part in parts:
        try:
            try:
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=folder)
            except FileNotFoundError:
                if not make:
                    raise
                os.mkdir(part, dir_fd=folder)
                below = os.open(part, flags | os.O_NOFOLLOW, dir_fd=folder)
        finally:
            os.close(folder)
        folder = below
    return folder


def open_file(workspace: Path, path: str) -> int:
    """A descriptor of a regular file, for reading. Raises ToolFailed, OSError."""
    parts = inside(workspace, path)
    if not parts:
        raise ToolFailed("not_a_file", f"{path!r} is a folder; expected a file")
    folder = open_folder(workspace, parts[:-1])
    try:
        # O_NONBLOCK: opening a FIFO must not wait for its writer.
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(file).st_mode):
        os.close(file)
        raise ToolFailed("not_a_file", f"{path!r} is no regular file; expected one")
    return file


def replace_file(workspace: Path, path: str, content: bytes) -> str:
    """Write a file in one step: a reader sees the old one or the new one. Its mode stays; missing folders are made.
    Returns where it is, relative to the workspace. Raises ToolFailed, OSError."""
    parts = inside(workspace, path)
    if not parts:
        raise ToolFailed("not_a_file", f"{path!r} is the workspace itself; expected a file's path")
    folder = open_folder(workspace, parts[:-1], make=True)
    temporary = f".{secrets.token_hex(8)}.new"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=folder), "wb") as file:
            try:
                file.write(content)
                file.flush()
                with contextlib.suppress(FileNotFoundError):
                    was = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
                    os.fchmod(file.fileno(), was.st_mode & 0o777)
                os.rename(temporary, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
            except OSError:
                os.unlink(temporary, dir_fd=folder)
                raise
    finally:
        os.close(folder)
    return "/".join(parts)


def explain(error: OSError, path: str) -> ToolFailed:
    """An operating system's refusal in the words of a tool, without the path of the workspace."""
    code = {FileNotFoundError: "not_found", PermissionError: "not_permitted"}.get(type(error), "failed")
    return ToolFailed(code, f"{path!r}: {error.strerror or type(error).__name__}")
