"""search: the lines of the workspace's text files that hold a text or fit a regular expression."""

from typing import Annotated

from pydantic import Field, JsonValue

from runcast_worker.tools import Arguments, Surroundings, Tell
from runcast_worker.tools.list_files import Glob
from runcast_worker.tools.scanner import scan


class SearchArguments(Arguments):
    pattern: Annotated[str, Field(max_length=1000)]
    """What a line must hold: this text, letter by letter."""
    regex: bool = False
    """pattern is a Python regular expression, which must be found somewhere in the line."""
    glob: Glob = "**/*"
    """Look only into files whose path, or name where it has no slash, fits: *.py, src/**/*.ts."""
    count: bool = False
    """Tell how many lines of each file fit, not which."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 200
    """Lines (with count: files) told at most."""


class Search:
    """The result is {matches: [{path, line, text}], total, complete}, or with `count` {files: {path: n}, total,
    complete}. `total` counts all; `complete` is false where they are not all told, or not all files were looked at. The
    pattern "" is in every line."""

    name = "search"
    description = (
        "Find the lines of the workspace's text files that hold a text or fit a regular expression, with path and line "
        "number. Hidden folders, node_modules, binaries and what links lead to are left out."
    )
    arguments = SearchArguments
    changes = False

    async def call(self, arguments: SearchArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        return await scan(surroundings, arguments.model_dump())
