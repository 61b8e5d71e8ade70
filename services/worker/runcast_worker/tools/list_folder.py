"""list_folder: what is in one folder of the workspace."""

import asyncio
import heapq
import os
import stat
from typing import Annotated, Any

from pydantic import Field, JsonValue

from runcast_worker.tools import Arguments, Surroundings, Tell, ToolFailed
from runcast_worker.tools.paths import explain, inside, open_folder

LOOKED = 100_000
"""Of a folder with more entries only this many are looked at."""


class ListFolderArguments(Arguments):
    path: str = "."
    """The folder, relative to the workspace."""
    limit: Annotated[int, Field(ge=1, le=500)] = 200


class ListFolder:
    """The result is {entries: [{name, kind: file | folder | link | other, bytes?}], complete}, by name; `bytes` is for
    files. `complete` is false where there are more."""

    name = "list_folder"
    description = (
        "List one folder of the workspace: names, kinds and sizes, hidden ones too. To find files anywhere by a "
        "pattern use list_files."
    )
    arguments = ListFolderArguments
    changes = False

    async def call(self, arguments: ListFolderArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        try:
            return await asyncio.to_thread(_list, arguments, surroundings)
        except NotADirectoryError:
            raise ToolFailed("not_a_folder", f"{arguments.path!r} is no folder; expected one") from None
        except OSError as error:
            raise explain(error, arguments.path) from None


def _list(arguments: ListFolderArguments, surroundings: Surroundings) -> dict[str, Any]:
    folder = open_folder(surroundings.workspace, inside(surroundings.workspace, arguments.path))
    try:
        names, complete = _names(folder, arguments.limit)
        entries = [_entry(name, folder) for name in names]
    finally:
        os.close(folder)
    return {"entries": entries, "complete": complete}


def _names(folder: int, limit: int) -> tuple[list[str], bool]:
    """The first ones by name, and whether they are all."""
    seen: list[str] = []
    with os.scandir(folder) as found:
        for entry in found:
            seen.append(entry.name)
            if len(seen) == LOOKED:
                break
    return heapq.nsmallest(limit, seen), len(seen) <= limit


def _entry(name: str, folder: int) -> dict[str, Any]:
    shown: dict[str, Any] = {"name": os.fsencode(name).decode(errors="replace"), "kind": "other"}
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:  # gone meanwhile
        return shown
    if stat.S_ISREG(found.st_mode):
        return {**shown, "kind": "file", "bytes": found.st_size}
    if stat.S_ISDIR(found.st_mode):
        return {**shown, "kind": "folder"}
    return {**shown, "kind": "link"} if stat.S_ISLNK(found.st_mode) else shown
