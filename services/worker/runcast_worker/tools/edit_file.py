"""edit_file: replaces a text in a file of the workspace by another."""

import os
from functools import partial
from typing import Annotated

from pydantic import Field, JsonValue

from runcast_worker.tools import ARGUMENTS_BYTES, Arguments, Surroundings, Tell, ToolFailed
from runcast_worker.tools.closest import closest_lines
from runcast_worker.tools.paths import explain, open_file, replace_file
from runcast_worker.tools.turn import in_turn

FILE_BYTES = 4 * 1024 * 1024
SHOWN_PLACES = 20

Text = Annotated[str, Field(max_length=ARGUMENTS_BYTES)]


class EditFileArguments(Arguments):
    path: str
    """Relative to the workspace. The file must exist."""
    old_text: Text
    """What to replace, exactly as the file has it, with all blanks and line breaks; as much as makes it unique."""
    new_text: Text
    """What to put in its place; empty to delete it."""
    all: bool = False
    """Replace every occurrence. Otherwise there must be exactly one."""


class EditFile:
    """The result says how many places were changed, and in which lines."""

    name = "edit_file"
    description = (
        "Replace a piece of text in a file of the workspace by another. old_text must be in the file exactly once "
        "(or set all), so give a few lines around the place. Read the file first; leave out the line numbers."
    )
    arguments = EditFileArguments
    changes = True

    async def call(self, arguments: EditFileArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        try:
            return await in_turn(surroundings.workspace, partial(_edit, arguments, surroundings))
        except OSError as error:
            raise explain(error, arguments.path) from None


def _edit(arguments: EditFileArguments, surroundings: Surroundings) -> str:
    text = _read(surroundings, arguments.path)
    changed, lines = edited(text, arguments.old_text, arguments.new_text, every=arguments.all)
    written = replace_file(surroundings.workspace, arguments.path, changed.encode(errors="replace"))
    places = "1 place" if len(lines) == 1 else f"{len(lines)} places"
    return f"changed {places} of {written}, in {_lines(lines)}"


def _read(surroundings: Surroundings, path: str) -> str:
    with os.fdopen(open_file(surroundings.workspace, path), "rb") as file:
        data = file.read(FILE_BYTES + 1)
    if len(data) > FILE_BYTES:
        raise ToolFailed("too_large", f"{path!r} has more than {FILE_BYTES} bytes; change it with a command (shell)")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise ToolFailed(
            "not_text", f"{path!r} is not UTF-8 (at byte {error.start}); change it with a command"
        ) from None


def edited(text: str, old: str, new: str, *, every: bool) -> tuple[str, list[int]]:
    """The new text, and the lines in which the places began. A file whose lines all end with CRLF keeps them, however
    the arguments' end. Raises ToolFailed."""
    if not old:
        raise ToolFailed("empty", "old_text is empty; expected a text of the file. write_file makes a new file")
    if "\r\n" in text and text.count("\n") == text.count("\r\n"):
        old, new = (piece.replace("\r\n", "\n").replace("\n", "\r\n") for piece in (old, new))
    if old == new:
        raise ToolFailed("identical", "old_text and new_text are the same: there is nothing to change")
    count = text.count(old)
    if not count:
        raise ToolFailed("no_match", f"old_text is not in the file, character by character. {closest_lines(text, old)}")
    lines = _places(text, old)
    if count > 1 and not every:
        message = f"old_text is in the file {count} times, in {_lines(lines)}; add lines around the one that is meant, "
        raise ToolFailed("many_matches", message + "or set all to change every one")
    if len(text) + count * (len(new) - len(old)) > FILE_BYTES:
        raise ToolFailed("too_large", f"the file would be longer than {FILE_BYTES} characters")
    return text.replace(old, new), lines


def _places(text: str, old: str) -> list[int]:
    lines, at, line, passed = [], text.find(old), 1, 0
    while at >= 0:
        line += text.count("\n", passed, at)
        lines.append(line)
        passed, at = at, text.find(old, at + len(old))
    return lines


def _lines(lines: list[int]) -> str:
    shown = ", ".join(map(str, lines[:SHOWN_PLACES])) + (" …" if len(lines) > SHOWN_PLACES else "")
    return f"line {shown}" if len(lines) == 1 else f"lines {shown}"
