"""What the demo understands: a prompt becomes a plan of tool calls, by fixed rules. Pure."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class Step:
    """One tool call. `why`: what the demo says it thinks."""

    tool: str
    arguments: dict[str, JsonValue]
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """`name`: the intent, by which the answer is worded. `title`: at most 60 characters."""

    name: str
    title: str
    steps: tuple[Step, ...]


_EXTENSIONS = {
    "javascript": "js",
    "markdown": "md",
    "python": "py",
    "ruby": "rb",
    "rust": "rs",
    "shell": "sh",
    "text": "txt",
    "typescript": "ts",
}


def _count(match: re.Match[str]) -> Plan:
    kind = (match["kind"] or "").lower().removeprefix("*").removeprefix(".")
    glob = f"*.{_EXTENSIONS.get(kind, kind)}" if kind not in ("", "all") else "*"
    return Plan(
        "count",
        f"Count the lines of {glob}",
        (
            Step("list_files", {"glob": glob}, f"First I look which files fit {glob}."),
            Step("search", {"pattern": "", "glob": glob, "count": True}, "Then I count the lines of each of them."),
        ),
    )


def _search(match: re.Match[str]) -> Plan:
    arguments: dict[str, JsonValue] = {"pattern": match["text"].strip().strip("\"'`")}
    return Plan("search", "Search the files", (Step("search", arguments, "I look for that text in every file."),))


def _read(match: re.Match[str]) -> Plan:
    path = match["path"].strip("\"'`")
    return Plan("read", "Read a file", (Step("read_file", {"path": path}, f"I read {path}."),))


def _write(match: re.Match[str]) -> Plan:
    path = match["path"].strip("\"'`")
    write = Step("write_file", {"path": path, "content": match["text"]}, f"I write {path}, whole.")
    return Plan("write", "Write a file", (write, Step("read_file", {"path": path}, "I read it back, to be sure.")))


def _run(match: re.Match[str]) -> Plan:
    return Plan("run", "Run a command", (Step("shell", {"command": match["command"]}, "I run that in the shell."),))


def _list(match: re.Match[str]) -> Plan:
    return Plan("list", "List the files", (Step("list_files", {}, "I look which files there are."),))


_INTENTS: tuple[tuple[str, Callable[[re.Match[str]], Plan]], ...] = (
    (r"\s*run:?\s+`(?P<command>[^`]+)`.*", _run),
    (r"\s*(?:please\s+)?write\s+(?:to\s+)?(?P<path>\S+?):\s?(?P<text>.*)", _write),
    (r".*\bcount\b.*?\blines\b(?:\s+(?:of|in)(?:\s+the)?(?:\s+(?P<kind>\*?\.?[\w+]+))?\s+files?\b)?.*", _count),
    (r"\s*(?:please\s+)?(?:search|look|grep)\s+(?:for\s+)?(?P<text>\S.*)", _search),
    (r"\s*(?:please\s+)?(?:read|show|print)\s+(?:me\s+)?(?:the\s+)?(?:file\s+)?(?P<path>\S+)\s*", _read),
    (r".*\blist\b.*\bfiles\b.*", _list),
)
_COMPILED = tuple((re.compile(pattern, re.DOTALL | re.IGNORECASE), make) for pattern, make in _INTENTS)
_READ_CHARS = 4000
"""A rule looks at this much of a prompt; what is to be written may be longer."""


def plan(prompt: str) -> Plan:
    """The first intent that fits, else `unknown`: list the files and say what is understood."""
    for pattern, make in _COMPILED:
        if len(prompt) > _READ_CHARS and make is not _write:
            continue
        match = pattern.fullmatch(prompt)
        if match is not None:
            return make(match)
    look = Step("list_files", {"limit": 20}, "I do not understand this; I look at what there is.")
    return Plan("unknown", "Look around", (look,))
