"""Reading `agents.toml`. A wrong file is refused at start: with line, key, what is wrong and what was expected."""

import re
import tomllib
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from runcast_agents.agents import DEFAULT, Agent, Agents
from runcast_agents.mistakes import KEY, told


class InvalidAgents(ValueError):
    """The agents file cannot be read, is not TOML, or does not fit the model."""


def load_agents(path: Path | None) -> dict[str, Agent]:
    """The agents by name. `path` None: the demo agent alone. Raises InvalidAgents."""
    if path is None:
        return DEFAULT.agents
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise InvalidAgents(f"{path}: cannot be read: {error.strerror}") from error
    except RecursionError:
        raise InvalidAgents(f"{path}: not TOML that can be read: it is nested too deep") from None
    except ValueError as error:  # not TOML, not UTF-8, or a number that Python does not read
        raise InvalidAgents(f"{path}: not TOML: {error}") from error
    try:
        agents = Agents.model_validate(document).agents
    except ValidationError as error:
        lines = key_lines(text)
        raise InvalidAgents("\n".join(_problem(path, lines, each) for each in error.errors())) from None
    folder = path.resolve().parent
    return {name: _resolve(agent, folder) for name, agent in agents.items()}


def _problem(path: Path, lines: dict[tuple[str, ...], int], error: ErrorDetails) -> str:
    keys, said = tuple(str(part) for part in error["loc"] if part != KEY), told(error)
    inner = (*keys, *said.partition(" ")[0].split("."))
    if error["type"] == "value_error" and inner[: len(keys) + 1] in lines:  # the table is wrong by this key of it
        keys = inner
    known = next((lines[keys[:length]] for length in range(len(keys), 0, -1) if keys[:length] in lines), 1)
    return f"{path}, line {known}: {'.'.join(keys) or 'the file'}: {said}"


_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_DOTTED = rf"{_KEY}(?:\s*\.\s*{_KEY})*"
_HEADER = re.compile(rf"\s*\[\s*({_DOTTED})\s*\]\s*(?:#.*)?")
_ASSIGNMENT = re.compile(rf"\s*({_DOTTED})\s*=")


def key_lines(text: str) -> dict[tuple[str, ...], int]:
    """Line numbers of the tables and keys of a TOML text, for messages only: text inside a multi-line string that looks
    like a key is taken for one. A key inside an inline table is found by the key that the table belongs to."""
    lines: dict[tuple[str, ...], int] = {}
    implied: dict[tuple[str, ...], int] = {}  # a table that only shows in the names of tables and keys inside it
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            keys = table = _keys(header[1])
        elif assignment := _ASSIGNMENT.match(line):
            keys = table + _keys(assignment[1])
        else:
            continue
        lines.setdefault(keys, number)
        for length in range(1, len(keys)):
            implied.setdefault(keys[:length], number)
    return implied | lines


def _keys(dotted: str) -> tuple[str, ...]:
    return tuple(key.strip("\"'") for key in re.findall(_KEY, dotted))


def _resolve(agent: Agent, folder: Path) -> Agent:
    return agent if agent.workspace is None else agent.model_copy(update={"workspace": folder / agent.workspace})
