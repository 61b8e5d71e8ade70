"""The engine: runs the agent's function, and tells what it yields and what its calls do."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import Any

from runcast_events.events import Event
from runcast_worker.engines import EngineError, EngineTask, HandOver, Saved
from runcast_worker.engines.python.entry import AgentFunction, load_entries
from runcast_worker.engines.python.expansion import Expansion, WrongStep
from runcast_worker.engines.python.mailbox import Forward, Letter, Mailbox, OwnCall
from runcast_worker.engines.python.standstill import StandstillWatch
from runcast_worker.engines.python.task import Task, task_for

logger = logging.getLogger(__name__)

STOP_S = 5.0
"""A function that is cancelled gets this long to end; then it is left to itself, and nothing of it is told."""
MESSAGE_CHARS = 2000


class PythonEngine:
    """An engine; see runcast_worker.engines. `functions`: by the agents' entries."""

    def __init__(self, functions: Mapping[str, AgentFunction], stop_s: float = STOP_S) -> None:
        self._functions, self._stop_s = functions, stop_s
        self._watch = StandstillWatch()
        self._strays: set[asyncio.Task[None]] = set()  # that did not end when they were cancelled

    async def run(self, task: EngineTask) -> AsyncGenerator[Event | Saved, None]:
        entry = str(task.agent.entry)
        saved: dict[str, Any] = json.loads(task.checkpoint or b'{"iteration": 0, "checkpoint": null}')
        mailbox = Mailbox()
        expansion = Expansion(task.record.attempt, saved["iteration"], task.record.iteration)
        with self._watch.on():
            running = asyncio.create_task(
                _play(self._functions[entry], task_for(task, saved["checkpoint"], mailbox), mailbox),
                name=f"agent function {entry}",
            )
            running.add_done_callback(lambda _: mailbox.end())
            try:
                while (letter := await mailbox.take()) is not None:
                    answer = None
                    if isinstance(letter.content, OwnCall):
                        before, *answer = expansion.own_call()
                        for event in before:
                            yield event
                    else:
                        for step in _events(expansion, letter, entry):
                            yield step
                    if letter.answer is not None and not letter.answer.done():
                        letter.answer.set_result(answer)
                _judge(running, entry)
                for event in expansion.end():
                    yield event
            finally:
                mailbox.close()
                await self._stop(running, entry)

    async def _stop(self, running: asyncio.Task[None], entry: str) -> None:
        running.cancel()
        _, late = await asyncio.wait({running}, timeout=self._stop_s)
        if late:
            logger.error("%s was cancelled and did not end in %g s; it is left to itself", entry, self._stop_s)
            self._strays.add(running)
            running.add_done_callback(self._strays.discard)


def python_engine(agents_file: Path | None) -> PythonEngine:
    """With the functions of all python agents. Raises InvalidAgents where one cannot be imported."""
    return PythonEngine(load_entries(agents_file))


async def _play(function: AgentFunction, task: Task, mailbox: Mailbox) -> None:
    try:
        async with aclosing(function(task)) as steps:
            async for step in steps:
                await mailbox.post(step)
    except SystemExit as error:  # it would end the worker
        raise RuntimeError(f"it called exit({error.code!r})") from error


def _events(expansion: Expansion, letter: Letter, entry: str) -> list[Event | Saved]:
    if isinstance(letter.content, Forward):
        return [letter.content.event]
    assert not isinstance(letter.content, OwnCall)
    try:
        return list(expansion.events(letter.content))
    except ValueError as error:  # also what a model of an event refuses
        said = str(error) if isinstance(error, WrongStep) else f"{letter.content!r:.200}: {error}"
        raise EngineError(f"{entry} yielded {said}"[:MESSAGE_CHARS]) from None


def _judge(running: asyncio.Task[None], entry: str) -> None:
    """Raises EngineError unless the function returned."""
    if running.cancelled():
        raise EngineError(f"{entry} cancelled itself")
    error = running.exception()
    if error is None:
        return
    if isinstance(error, EngineError | HandOver):
        raise error
    logger.error("the agent function %s failed", entry, exc_info=error)
    raise EngineError(f"{entry} failed: {type(error).__name__}: {error}"[:MESSAGE_CHARS]) from error
