"""Looks through a workspace: the program that list_files and search run as a child process.

A process of its own because a pattern is the agent's: one that backtracks for ever holds the interpreter's lock, which
would stop the whole worker, and only a process can be killed. Standard library only, so that it starts in milliseconds.
Usage: scan.py <JSON request>; answers with one JSON document. Symlinks are not followed; hidden folders,
`node_modules` and `__pycache__` are left out.
"""

import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from typing import Any

SKIPPED = frozenset({"node_modules", "__pycache__"})
MAX_FILES = 50_000
MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_BYTES = 256 * 1024 * 1024
MAX_LINE_CHARS = 500
MAX_ANSWER_BYTES = 40 * 1024
"""What is found is told up to here, so that the answer stays whole in an event."""


def glob_pattern(glob: str) -> re.Pattern[str]:
    """`*` and `?` stay within a folder, `**/` is any folders; a glob without `/` is about the name alone."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", glob if "/" in glob else f"**/{glob}")
    words = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile("".join(words.get(part) or re.escape(part) for part in parts), re.DOTALL)


class Walk:
    """Every regular file below the current folder that fits a glob. `complete` turns False where it stopped early."""

    def __init__(self, glob: str) -> None:
        self._fits = glob_pattern(glob.removeprefix("./")).fullmatch
        self.complete = True

    def files(self) -> Iterator[tuple[str, str, int]]:
        """Path, name and folder descriptor, in order."""
        seen = 0
        for folder, folders, names, descriptor in os.fwalk(".", follow_symlinks=False):
            folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED)
            for name in sorted(names):
                path = os.path.relpath(os.path.join(folder, name))
                seen += 1
                if seen > MAX_FILES:
                    self.complete = False
                    return
                if self._fits(path) and is_regular(name, descriptor):
                    yield path, name, descriptor


class Room:
    """How much more may be told; once something does not fit, nothing does."""

    def __init__(self) -> None:
        self._left = MAX_ANSWER_BYTES

    def takes(self, told: object) -> bool:
        if self._left < 0:
            return False
        size = len(json.dumps(told, ensure_ascii=False).encode()) + 16
        self._left = self._left - size if size <= self._left else -1
        return self._left >= 0


def is_regular(name: str, folder: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def shown(text: str) -> str:
    return os.fsencode(text).decode(errors="replace")


def list_files(request: dict[str, Any]) -> dict[str, Any]:
    walk = Walk(request["glob"])
    found: list[str] = []
    room = Room()
    for path, _, _ in walk.files():
        if len(found) == request["limit"] or not room.takes(shown(path)):
            walk.complete = False
            break
        found.append(shown(path))
    return {"files": found, "complete": walk.complete}


def search(request: dict[str, Any]) -> dict[str, Any]:
    text, limit = request["pattern"], request["limit"]
    match: Callable[[str], object] = re.compile(text).search if request["regex"] else lambda line: text in line
    walk = Walk(request["glob"])
    counts: dict[str, int] = {}
    matches: list[dict[str, Any]] = []
    total = budget = 0
    room = Room()
    for path, name, folder in walk.files():
        data = read(name, folder)
        budget += len(data)
        if budget > MAX_BYTES:
            walk.complete = False
            break
        hits = 0
        for number, line in enumerate(lines(data), 1):
            if not match(line):
                continue
            hits += 1
            if not request["count"] and len(matches) < limit:
                told = {"path": shown(path), "line": number, "text": line[:MAX_LINE_CHARS]}
                if room.takes(told):
                    matches.append(told)
        total += hits
        if hits and len(counts) < limit and request["count"] and room.takes(shown(path)):
            counts[shown(path)] = hits
    told_lines = sum(counts.values()) if request["count"] else len(matches)
    walk.complete = walk.complete and told_lines == total
    found = {"files": counts} if request["count"] else {"matches": matches}
    return {**found, "total": total, "complete": walk.complete}


def read(name: str, folder: int) -> bytes:
    """At most MAX_FILE_BYTES; nothing of a file that cannot be read or that holds NUL: it is no text."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(MAX_FILE_BYTES)
    except OSError:
        return b""
    return b"" if b"\0" in data[:8192] else data


def lines(data: bytes) -> Iterator[str]:
    """One at a time: a list of them may take dozens of times the size of the file."""
    for line in io.StringIO(data.decode(errors="replace"), newline="\n"):
        yield line.removesuffix("\n")


def main() -> None:
    request = json.loads(sys.argv[1])
    try:
        answer = search(request) if "pattern" in request else list_files(request)
    except (re.error, OverflowError, RecursionError) as error:
        answer = {"error": f"not a regular expression: {error}"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
