"""write_file: writes a text file of the workspace, whole, with the folders it needs."""

from functools import partial
from typing import Annotated

from pydantic import Field, JsonValue

from runcast_worker.tools import ARGUMENTS_BYTES, Arguments, Surroundings, Tell
from runcast_worker.tools.paths import explain, replace_file
from runcast_worker.tools.turn import in_turn


class WriteFileArguments(Arguments):
    path: str
    """Relative to the workspace. Folders that are missing are made."""
    content: Annotated[str, Field(max_length=ARGUMENTS_BYTES)]
    """All of the new file."""


class WriteFile:
    """The result says what was written."""

    name = "write_file"
    description = (
        "Create a text file of the workspace, or replace one as a whole. To change a part of a file that exists use "
        "edit_file: it is shorter, and nothing else of the file can get lost."
    )
    arguments = WriteFileArguments
    changes = True

    async def call(self, arguments: WriteFileArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        content = arguments.content.encode(errors="replace")
        try:
            replace = partial(replace_file, surroundings.workspace, arguments.path, content)
            written = await in_turn(surroundings.workspace, replace)
        except OSError as error:
            raise explain(error, arguments.path) from None
        return f"wrote {len(content)} bytes to {written}"
