"""read_file: a text file of the workspace, or some of its lines."""

import asyncio
import os
from collections.abc import Iterator
from typing import Annotated, BinaryIO

from pydantic import Field, JsonValue

from runcast_worker.tools import Arguments, Surroundings, Tell
from runcast_worker.tools.paths import explain, open_file

READ_BYTES = 16 * 1024 * 1024
RESULT_CHARS = 256 * 1024
CHUNK_BYTES = 64 * 1024


class ReadFileArguments(Arguments):
    path: str
    """Relative to the workspace."""
    start_line: Annotated[int, Field(ge=1)] = 1
    """The first line to read, from 1."""
    lines: Annotated[int, Field(ge=1, le=10_000)] = 2000
    """How many lines."""


class ReadFile:
    """The result is the text. Bytes that are not UTF-8 become U+FFFD; what is left out is said in a last line."""

    name = "read_file"
    description = (
        "Read a text file of the workspace, or some of its lines. Of a long text you get the head and the tail: read "
        "long files in parts, by start_line and lines. To find a place first use search."
    )
    arguments = ReadFileArguments
    changes = False

    async def call(self, arguments: ReadFileArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        try:
            return await asyncio.to_thread(_read, arguments, surroundings)
        except OSError as error:
            raise explain(error, arguments.path) from None


def _read(arguments: ReadFileArguments, surroundings: Surroundings) -> str:
    first, last = arguments.start_line - 1, arguments.start_line - 1 + arguments.lines
    passed, ends_open, shown = 0, False, bytearray()
    with os.fdopen(open_file(surroundings.workspace, arguments.path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        for chunk in _chunks(file):
            newlines = chunk.count(b"\n")
            if passed + newlines >= first and passed < last:
                pieces = chunk.split(b"\n")
                shown += b"\n".join(pieces[max(0, first - passed) : last - passed])
                if len(pieces) > last - passed:
                    shown += b"\n"
            passed += newlines
            ends_open = not chunk.endswith(b"\n")
            if len(shown) > 4 * RESULT_CHARS:  # a character takes four bytes at most
                break
    text, lines = shown.decode(errors="replace"), passed + ends_open
    if len(text) > RESULT_CHARS:
        return f"{text[:RESULT_CHARS]}\n… cut after {RESULT_CHARS} characters"
    if last < lines:
        return f"{text}… {lines - last} more lines"
    if size > READ_BYTES:
        return f"{text}… only the first {READ_BYTES} of {size} bytes were read"
    return text


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """The first READ_BYTES. In pieces: the whole cut into lines may take dozens of times its size."""
    rest = READ_BYTES
    while rest and (chunk := file.read(min(CHUNK_BYTES, rest))):
        rest -= len(chunk)
        yield chunk
