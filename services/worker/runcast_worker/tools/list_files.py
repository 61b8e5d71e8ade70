"""list_files: the files of the workspace whose path or name fits a glob."""

from typing import Annotated

from pydantic import Field, JsonValue

from runcast_worker.tools import Arguments, Surroundings, Tell
from runcast_worker.tools.scanner import scan

Glob = Annotated[str, Field(min_length=1, max_length=256)]


class ListFilesArguments(Arguments):
    glob: Glob = "**/*"
    """* and ? stay within a folder, **/ is any folders; without a slash it is about names alone, in any folder."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class ListFiles:
    """The result is {files, complete}; `complete` is false where there are more than were listed."""

    name = "list_files"
    description = (
        "Find files of the workspace whose path or name fits a glob, such as *.py or src/**/*.ts. Hidden folders, "
        "node_modules and what links lead to are left out. To see one folder as it is use list_folder."
    )
    arguments = ListFilesArguments
    changes = False

    async def call(self, arguments: ListFilesArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        return await scan(surroundings, {"glob": arguments.glob, "limit": arguments.limit})
