"""`${NAME}` in what an agents file gives to an MCP server or a program: taken from the worker's environment. Pure."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
"""Of the worker's environment a server is given these; whatever else it needs, the agents file names."""

WORKSPACE = "WORKSPACE"
"""`${WORKSPACE}` in a command's arguments and its env: the session's folder, which it is not started in."""

_REFERENCE = re.compile(r"\$\{(\w+)\}")


class Unset(Exception):
    """A variable that is named is not set."""


def resolve(given: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The values with every `${NAME}` replaced. Raises Unset."""
    return {name: _resolve(name, value, environ) for name, value in given.items()}


def arguments(command: Sequence[str], workspace: Path) -> list[str]:
    """Nothing of the environment: everybody on the machine sees a process's arguments."""
    return [argument.replace(f"${{{WORKSPACE}}}", str(workspace)) for argument in command]


def environment(given: Mapping[str, str], environ: Mapping[str, str], workspace: Path) -> dict[str, str]:
    """All that a server's process gets. Raises Unset."""
    inherited = {name: environ[name] for name in INHERITED if name in environ}
    return inherited | resolve(given, {**environ, WORKSPACE: str(workspace)})


def _resolve(name: str, value: str, environ: Mapping[str, str]) -> str:
    def look_up(found: re.Match[str]) -> str:
        if found[1] not in environ:
            raise Unset(f"{name} needs ${{{found[1]}}}, which is not set in the worker's environment")
        return environ[found[1]]

    return _REFERENCE.sub(look_up, value)
