"""shell: a command line in the workspace, its output streamed while it runs."""

import asyncio
import codecs
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from runcast_worker.sandbox import Child
from runcast_worker.sandbox.reasons import why_killed
from runcast_worker.tools import ARGUMENTS_BYTES, Arguments, Surroundings, Tell, ToolFailed

READ_BYTES = 8192
KILL_BYTES = 10 * 1024 * 1024
FAILED_BYTES = 12 * 1024
"""Of the output so much is told with an error."""
DRAIN_S = 0.5
"""After the shell's end its pipes get this long to run empty: a grandchild may hold them open for ever."""


class ShellArguments(Arguments):
    command: Annotated[str, Field(min_length=1, max_length=ARGUMENTS_BYTES)]
    """For /bin/sh -c. It starts in the workspace, with nothing on its stdin."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0
    """It is killed after this many seconds."""


class Shell:
    """The result is {exit_code, output, bytes}; an exit code other than 0 is a result, not an error."""

    name = "shell"
    description = (
        "Run a command line with /bin/sh in the workspace. Returns its exit code and what it wrote, both outputs "
        "together; of a long output the head and the tail. Every call is a new shell: cd and variables do not last, "
        "and what is left running in the background is killed at its end. Nobody can answer a question: pass options "
        "such as --yes."
    )
    arguments = ShellArguments
    changes = True

    async def call(self, arguments: ShellArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        if "\0" in arguments.command:
            raise ToolFailed("invalid_arguments", "command: a command line cannot contain NUL")
        argv = ("/bin/sh", "-c", arguments.command)
        output = _Output(tell)
        try:
            async with asyncio.timeout(arguments.timeout_s), surroundings.run(argv) as running:
                exit_code, killed = await _follow(running, output), running.killed
        except TimeoutError:
            message = f"the command did not end in {arguments.timeout_s:g} s and was killed"
            raise await _failed(tell, "timeout", message) from None
        except _TooMuch:
            message = f"the command wrote more than {KILL_BYTES} bytes and was killed"
            raise await _failed(tell, "too_much_output", message) from None
        except OSError as error:
            raise ToolFailed("failed", f"the command could not be started: {error.strerror}") from None
        if killed is not None:
            raise await _failed(tell, "sandbox_limit", f"the command was killed: {why_killed(killed)}")
        captured = await tell.captured()
        return {"exit_code": exit_code, "output": captured.text, "bytes": captured.size}


async def _failed(tell: Tell, code: str, message: str) -> ToolFailed:
    return ToolFailed(code, f"{message}\n{(await tell.captured(FAILED_BYTES)).text}")


async def _follow(running: Child, output: "_Output") -> int:
    """Read until the shell ends and its pipes are empty; returns its exit code, negative for a signal."""
    readers = [
        asyncio.create_task(output.read(running.stdout, "stdout")),
        asyncio.create_task(output.read(running.stderr, "stderr")),
    ]
    ended = asyncio.create_task(running.wait())
    try:
        waiting = {ended, *readers}
        while ended in waiting:  # a reader ends at its pipe's end, or raises: too much output
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        if waiting:
            done, _ = await asyncio.wait(waiting, timeout=DRAIN_S)
            for task in done:
                task.result()
        return ended.result()
    finally:
        for task in (ended, *readers):
            task.cancel()
        await asyncio.gather(ended, *readers, return_exceptions=True)


class _TooMuch(Exception):
    """The command wrote more than KILL_BYTES."""


class _Output:
    """Both streams, told in the order they come, and counted."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._size = 0

    async def read(self, reader: asyncio.StreamReader, name: Literal["stdout", "stderr"]) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            data = await reader.read(READ_BYTES)
            self._size += len(data)
            if self._size > KILL_BYTES:
                raise _TooMuch
            if text := decoder.decode(data, final=not data):
                await self._tell.stream(name, text)
            if not data:
                return
