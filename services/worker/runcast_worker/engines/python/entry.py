"""`module:function` of an agents file: imported once, when a worker starts, so that a wrong one is refused then."""

import importlib
import inspect
import logging
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import cast

from runcast_agents import InvalidAgents, load_agents
from runcast_agents.file import key_lines
from runcast_worker.engines.python.steps import Step
from runcast_worker.engines.python.task import Task

logger = logging.getLogger(__name__)

AgentFunction = Callable[[Task], AsyncGenerator[Step, None]]


class WrongEntry(ValueError):
    """The message says what is wrong with it and what was expected."""


def load_entry(entry: str) -> AgentFunction:
    """Import it. Raises WrongEntry."""
    module_name, _, name = entry.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            said = "expected an installed package, or its folder in PYTHONPATH"
            raise WrongEntry(f"no module {error.name!r}: {said}") from None
        raise WrongEntry(f"{module_name} needs the module {error.name!r}, which is not installed") from None
    except (Exception, SystemExit) as error:
        logger.exception("the module %s cannot be imported", module_name)
        raise WrongEntry(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if function is None:
        raise WrongEntry(f"{module_name} has no {name!r}")
    if not inspect.isasyncgenfunction(function):
        raise WrongEntry(f"{entry} is no async generator function; expected `async def {name}(task)` that yields")
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise WrongEntry(f"{entry} cannot be called with the task alone: {error}") from None
    return cast(AgentFunction, function)


def load_entries(agents_file: Path | None) -> dict[str, AgentFunction]:
    """Of all python agents, by entry. Raises InvalidAgents, which lists every wrong one with its line."""
    entries = {name: agent.entry for name, agent in load_agents(agents_file).items() if agent.entry is not None}
    lines = key_lines(agents_file.read_text()) if agents_file is not None and entries else {}
    functions, wrong = {}, []
    for name, entry in entries.items():
        try:
            functions[entry] = load_entry(entry)
        except WrongEntry as error:
            line = lines.get(("agents", name, "entry"), lines.get(("agents", name), 1))
            wrong.append(f"{agents_file}, line {line}: agents.{name}.entry: {error}")
    if wrong:
        raise InvalidAgents("\n".join(wrong))
    return functions
