"""write_file: writes a text file of the workspace, whole, with the folders it needs."""

import asyncio
import os
import secrets
from typing import Annotated

from pydantic import Field, JsonValue

from runcast_worker.tools import ARGUMENTS_BYTES, Arguments, Surroundings, Tell, ToolFailed
from runcast_worker.tools.paths import explain, inside, open_folder


class WriteFileArguments(Arguments):
    path: str
    content: Annotated[str, Field(max_length=ARGUMENTS_BYTES)]


class WriteFile:
    """The file is replaced in one step: a reader sees the old one or the new one. The result says what was written."""

    name = "write_file"
    description = "Write a text file of the workspace, whole, with the folders it needs."
    arguments = WriteFileArguments
    changes = True

    async def call(self, arguments: WriteFileArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        try:
            return await asyncio.to_thread(_write, arguments, surroundings)
        except OSError as error:
            raise explain(error, arguments.path) from None


def _write(arguments: WriteFileArguments, surroundings: Surroundings) -> str:
    parts = inside(surroundings.workspace, arguments.path)
    if not parts:
        raise ToolFailed("not_a_file", f"{arguments.path!r} is the workspace itself; expected a file's path")
    content = arguments.content.encode(errors="replace")
    folder = open_folder(surroundings.workspace, parts[:-1], make=True)
    temporary = f".{secrets.token_hex(8)}.new"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=folder), "wb") as file:
            file.write(content)
        try:
            os.rename(temporary, parts[-1], src_dir_fd=folder, dst_dir_fd=folder)
        except OSError:
            os.unlink(temporary, dir_fd=folder)
            raise
    finally:
        os.close(folder)
    return f"wrote {len(content)} bytes to {'/'.join(parts)}"
