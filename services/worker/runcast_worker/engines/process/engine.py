"""The engine: starts the agent's command, tells what it does, and judges its end."""

import os
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from itertools import chain
from time import monotonic

from runcast_agents.agents import PROMPT
from runcast_events.events import (
    Event,
    Log,
    Output,
    OutputComplete,
    OutputStart,
    ProcessState,
)
from runcast_worker.engines import EngineError, EngineTask
from runcast_worker.engines.process.ending import Ending
from runcast_worker.engines.process.lines import Lines
from runcast_worker.engines.process.output import follow
from runcast_worker.engines.process.patterns import Patterns
from runcast_worker.sandbox import Child

SAMPLE_S = 5.0
ARGUMENT_BYTES = 128 * 1024 - 16
"""Of one argument or variable, as Linux takes it (MAX_ARG_STRLEN), with the variable's name."""
ANSWER = "answer"
"""The pattern of this name extracts the answer."""
DELTA_CHARS = 4096


class ProcessEngine:
    """An engine; see runcast_worker.engines. `sample_s`: between two samples."""

    def __init__(self, sample_s: float = SAMPLE_S) -> None:
        self._sample_s = sample_s

    async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
        if task.record.attempt > 1 and not task.agent.restart:
            raise EngineError("its worker ended in the middle of the command, which is not started again", "process")
        argv, environ = _launch(task)
        where, telling = task.surroundings, _Telling(task)
        began = monotonic()
        async with AsyncExitStack() as stack:
            try:
                running = await stack.enter_async_context(
                    where.sandbox.run(argv, where.workspace, where.policy, environ=environ, tty=True)
                )
            except OSError as error:
                raise EngineError(f"{argv[0]!r} could not be started: {error.strerror}", "process") from error
            yield ProcessState(state="started")
            async with aclosing(follow(running, self._sample_s)) as output:
                async for data in output:
                    if data is None:
                        yield _sample(running)
                        for event in telling.standing():
                            yield event
                        continue
                    async with aclosing(telling.read(data)) as events:
                        async for event in events:
                            yield event
            async with aclosing(telling.rest()) as events:
                async for event in events:
                    yield event
            exit_code, killed = await running.wait(), running.killed
        yield ProcessState(state="exited", exit_code=exit_code, duration_ms=int((monotonic() - began) * 1000))
        if exit_code != 0 or killed is not None:
            raise EngineError(telling.ending.failure(exit_code, killed), "process")
        for event in _answer(telling.ending.answer):
            yield event


class _Telling:
    """From what the program prints to events; what they tell of its end is in `ending`."""

    def __init__(self, task: EngineTask) -> None:
        self._lines, self._redactor = Lines(), task.redactor()
        self._patterns = Patterns(task.agent.patterns)
        self._line_num = 0
        self._stood = ""  # the line that was told before its end
        self.ending = Ending(wanted=ANSWER in task.agent.patterns)

    def read(self, data: bytes) -> AsyncGenerator[Event, None]:
        text = self._redactor.feed(self._lines.decode(data))
        return self._tell(self._lines.feed(text, monotonic()))

    def rest(self) -> AsyncGenerator[Event, None]:
        """The output has ended."""
        text = self._redactor.feed(self._lines.decode(b"", final=True)) + self._redactor.flush()
        return self._tell(chain(self._lines.feed(text, monotonic()), self._lines.flush()))

    def standing(self) -> Iterator[Event]:
        """A question, perhaps. Patterns are for lines that have ended."""
        line = self._lines.standing(monotonic())
        if line is not None:
            self._stood = line
            yield self._log(line)

    def _log(self, line: str) -> Log:
        self._line_num += 1
        return Log(line=line, line_num=self._line_num, stream="stdout")

    async def _tell(self, lines: Iterable[str]) -> AsyncGenerator[Event, None]:
        for line in lines:
            self.ending.line(line)
            if not line or line != self._stood:
                yield self._log(line)
            self._stood = ""
            for extraction in await self._patterns.extract(line, self._line_num):
                if extraction.pattern == ANSWER:
                    self.ending.extracted(extraction.value)
                yield extraction


def _launch(task: EngineTask) -> tuple[list[str], dict[str, str]]:
    """The command with the prompt in its place, and what it is given besides the allowlist. Raises EngineError where
    the system could not hand it over."""
    prompt = task.record.prompt
    argv = [argument.replace(PROMPT, prompt) for argument in task.agent.command]
    if "\0" in prompt:
        raise EngineError("the prompt contains NUL, which no program can be given as an argument", "process")
    if prompt.startswith("-") and _may_be_option(task.agent.command):
        said = (
            "the prompt begins with '-', which the command would take for an option; begin it with something else, or"
        )
        raise EngineError(
            f'{said} put "--" before "{PROMPT}" in the agent\'s command, where its program takes that', "process"
        )
    longest = max(len(text.encode()) for text in (prompt, *argv))
    if longest > ARGUMENT_BYTES:
        said = f"with the prompt an argument takes {longest} bytes; a program can be given at most {ARGUMENT_BYTES}"
        raise EngineError(said, "process")
    given = _given(task.agent.env) if task.agent.env else {}
    return argv, {"TERM": "xterm-256color", **given, "RUNCAST_PROMPT": prompt}


def _may_be_option(command: Sequence[str]) -> bool:
    """An argument begins with the prompt, and no `--` before it says that options have ended."""
    options = command[: command.index("--")] if "--" in command else command
    return any(argument.startswith(PROMPT) for argument in options)


def _given(env: Mapping[str, str]) -> dict[str, str]:
    # Here, since the package around it takes half a second to import.
    from runcast_worker.mcp.variables import Unset, resolve

    try:
        return resolve(env, os.environ)
    except Unset as error:
        raise EngineError(f"the agent's env: {error}", "process") from None


def _sample(running: Child) -> Event:
    took = running.consumption()
    return ProcessState(state="sample", rss_bytes=took.rss_bytes, cpu_s=round(took.cpu_s, 2))


def _answer(answer: str) -> Iterator[Event]:
    if answer:
        yield OutputStart(part_id="o1")
        for offset in range(0, len(answer), DELTA_CHARS):
            yield Output(part_id="o1", delta=answer[offset : offset + DELTA_CHARS], offset=offset)
        yield OutputComplete(part_id="o1", content=answer)
