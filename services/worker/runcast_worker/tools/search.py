"""search: the lines of the workspace's text files that hold a text or fit a regular expression."""

from typing import Annotated

from pydantic import Field, JsonValue

from runcast_worker.tools import Arguments, Surroundings, Tell
from runcast_worker.tools.list_files import Glob
from runcast_worker.tools.scanner import scan


class SearchArguments(Arguments):
    """`pattern`: a text, or a Python regular expression with `regex`. `count`: how many lines, not which."""

    pattern: Annotated[str, Field(max_length=1000)]
    regex: bool = False
    glob: Glob = "**/*"
    count: bool = False
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class Search:
    """The result is {matches: [{path, line, text}], total, complete}, or with `count` {files: {path: n}, total,
    complete}. The pattern "" is in every line."""

    name = "search"
    description = "Find the lines of the workspace's text files that hold a text or fit a regular expression."
    arguments = SearchArguments
    changes = False

    async def call(self, arguments: SearchArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        return await scan(surroundings, arguments.model_dump())
