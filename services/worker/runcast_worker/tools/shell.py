"""shell: a command line in the workspace, its output streamed while it runs."""

import asyncio
import codecs
from collections import deque
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from runcast_worker.sandbox import Child
from runcast_worker.tools import ARGUMENTS_BYTES, Arguments, Surroundings, Tell, ToolFailed

READ_BYTES = 8192
END_BYTES = 128 * 1024
"""Of a long output the head and the tail are kept, this much each; the head alone is streamed beyond that."""
KILL_BYTES = 10 * 1024 * 1024
DRAIN_S = 0.5
"""After the shell's end its pipes get this long to run empty: a grandchild may hold them open for ever."""


class ShellArguments(Arguments):
    command: Annotated[str, Field(min_length=1, max_length=ARGUMENTS_BYTES)]
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 60.0


class Shell:
    """The result is {exit_code, output, bytes}; an exit code other than 0 is a result, not an error."""

    name = "shell"
    description = "Run a command line with /bin/sh in the workspace. Returns its exit code and its output."
    arguments = ShellArguments
    changes = True

    async def call(self, arguments: ShellArguments, surroundings: Surroundings, tell: Tell) -> JsonValue:
        if "\0" in arguments.command:
            raise ToolFailed("invalid_arguments", "command: a command line cannot contain NUL")
        argv = ("/bin/sh", "-c", arguments.command)
        output = _Output(tell)
        try:
            async with asyncio.timeout(arguments.timeout_s), surroundings.run(argv) as running:
                exit_code = await _follow(running, output)
        except TimeoutError:
            message = f"the command did not end in {arguments.timeout_s:g} s and was killed\n{output.text()}"
            raise ToolFailed("timeout", message) from None
        except OSError as error:
            raise ToolFailed("failed", f"the command could not be started: {error.strerror}") from None
        return {"exit_code": exit_code, "output": output.text(), "bytes": output.size}


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


class _Output:
    """Both streams in the order they came: counted, streamed, and kept as head and tail."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._head: list[str] = []
        self._tail: deque[str] = deque()
        self._head_size = self._tail_size = 0
        self.size = 0

    async def read(self, reader: asyncio.StreamReader, name: Literal["stdout", "stderr"]) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        while True:
            data = await reader.read(READ_BYTES)
            self.size += len(data)
            if self.size > KILL_BYTES:
                raise ToolFailed("too_much_output", f"the command wrote more than {KILL_BYTES} bytes and was killed")
            if text := decoder.decode(data, final=not data):
                await self._keep(text, len(data), name)
            if not data:
                return

    async def _keep(self, text: str, size: int, name: Literal["stdout", "stderr"]) -> None:
        if self._head_size < END_BYTES:
            self._head.append(text)
            self._head_size += size
            await self._tell.stream(name, text)
            if self._head_size >= END_BYTES:
                await self._tell.stream(name, "\n… the rest is not streamed; its end is in the result\n")
            return
        self._tail.append(text)
        self._tail_size += len(text)
        while self._tail_size - len(self._tail[0]) >= END_BYTES:
            self._tail_size -= len(self._tail.popleft())

    def text(self) -> str:
        kept = self._head_size + self._tail_size
        cut = f"\n… {self.size} bytes in all …\n" if self.size > kept else ""
        return "".join(self._head) + cut + "".join(self._tail)
