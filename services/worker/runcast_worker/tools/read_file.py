"""read_file: a text file of the workspace, or some of its lines."""

import asyncio
import os
from typing import Annotated

from pydantic import Field, JsonValue

from runcast_worker.tools import Arguments, Stream, Surroundings
from runcast_worker.tools.paths import explain, open_file

READ_BYTES = 16 * 1024 * 1024
RESULT_CHARS = 256 * 1024


class ReadFileArguments(Arguments):
    path: str
    start_line: Annotated[int, Field(ge=1)] = 1
    lines: Annotated[int, Field(ge=1, le=10_000)] = 2000


class ReadFile:
    """The result is the text. Bytes that are not UTF-8 become U+FFFD; what is left out is said in a last line."""

    name = "read_file"
    arguments = ReadFileArguments
    changes = False

    async def call(self, arguments: ReadFileArguments, surroundings: Surroundings, stream: Stream) -> JsonValue:
        try:
            return await asyncio.to_thread(_read, arguments, surroundings)
        except OSError as error:
            raise explain(error, arguments.path) from None


def _read(arguments: ReadFileArguments, surroundings: Surroundings) -> str:
    with os.fdopen(open_file(surroundings.workspace, arguments.path), "rb") as file:
        text = file.read(READ_BYTES).decode(errors="replace")
        size = os.fstat(file.fileno()).st_size
    lines = text.splitlines(keepends=True)
    first, last = arguments.start_line - 1, arguments.start_line - 1 + arguments.lines
    shown = "".join(lines[first:last])
    if len(shown) > RESULT_CHARS:
        return f"{shown[:RESULT_CHARS]}\n… cut after {RESULT_CHARS} characters"
    if last < len(lines):
        return f"{shown}… {len(lines) - last} more lines"
    if size > READ_BYTES:
        return f"{shown}… only the first {READ_BYTES} of {size} bytes were read"
    return shown
