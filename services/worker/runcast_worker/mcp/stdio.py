"""A server that is a process: JSON-RPC messages as lines over its stdin and stdout.

Not the SDK's own transport: that one collects a line without an end for ever, hides what the server says on stderr, and
leaves the server behind when the worker is killed.
"""

import asyncio
import contextlib
import os
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp.types import jsonrpc_message_adapter
from pydantic import ValidationError

from runcast_worker.mcp import keeper
from runcast_worker.mcp.words import Words

MESSAGE_BYTES = 8 * 1024 * 1024
"""A server that sends a longer line is given up."""
GRACE_S = 1.0
"""Between the end of its stdin and SIGTERM, and between that and SIGKILL."""
END_S = 6.0
"""Its keeper gets this long to end what SIGKILL ends."""

Streams = tuple[MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]]


class Stdio:
    """`connect` once. `place`: see runcast_worker.mcp.folder. `why`: what is known of how it ended, for an
    error. `words`: the end of what it wrote to stderr, such as a traceback, for the log."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], place: Path) -> None:
        self._command, self._environ, self._place = command, environ, place
        self._process: Process | None = None
        self._life = -1  # our end of the keeper's pipe
        self._said = Words()
        self._broke: str | None = None

    @property
    def why(self) -> str | None:
        if self._broke is not None:
            return self._broke
        if self._process is None or self._process.returncode is None:
            return None
        code, said = self._process.returncode, self._said.last_line
        signal = -code if code < 0 else code - keeper.KILLED
        ended = f"it was killed by signal {signal}" if signal > 0 else f"it ended with exit code {code}"
        return f"{ended}: {said}" if said else ended

    @property
    def words(self) -> str:
        return self._said.text

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[Streams, None]:
        """Streams as mcp.Client takes them. At the end its stdin is closed; what of its processes still runs after
        GRACE_S is ended, wherever it went. Raises OSError where it cannot be started."""
        to_session, read_stream = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        write_stream, from_session = anyio.create_memory_object_stream[SessionMessage](0)
        async with contextlib.AsyncExitStack() as stack:
            stdin, stdout, stderr = await self._start(stack)
            sides = [
                asyncio.create_task(self._read(stdout, to_session), name="stdout of an MCP server"),
                asyncio.create_task(self._write(stdin, from_session, to_session), name="stdin of an MCP server"),
                asyncio.create_task(self._listen(stderr), name="stderr of an MCP server"),
            ]
            try:
                yield read_stream, write_stream
            finally:
                stdin.close()
                try:
                    await self._end()
                finally:
                    for side in sides:
                        side.cancel()
                    await asyncio.gather(*sides, return_exceptions=True)
                    for stream in (to_session, read_stream, write_stream, from_session):
                        stream.close()

    async def _start(
        self, stack: contextlib.AsyncExitStack
    ) -> tuple[asyncio.WriteTransport, asyncio.StreamReader, asyncio.StreamReader]:
        """Pipes of ours, not asyncio's: its wait for a child's end also waits for whoever holds its pipes."""
        (child_in, our_in), (our_out, child_out), (our_err, child_err) = (os.pipe() for _ in range(3))
        with contextlib.ExitStack() as childs:
            life, self._life = os.pipe()
            stack.callback(self._let_go)
            for fd in (child_in, child_out, child_err, life):
                childs.callback(os.close, fd)
            loop = asyncio.get_running_loop()
            stdin, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(our_in, "wb", buffering=0))
            stack.callback(stdin.close)
            readers = []
            for fd in (our_out, our_err):
                reader = asyncio.StreamReader(limit=MESSAGE_BYTES)
                protocol = asyncio.StreamReaderProtocol(reader)
                pipe, _ = await loop.connect_read_pipe(lambda given=protocol: given, os.fdopen(fd, "rb", buffering=0))  # type: ignore[misc]
                stack.callback(pipe.close)
                readers.append(reader)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", keeper.__file__, str(life), str(self._place), *self._command),
                cwd="/",
                env=self._environ,
                stdin=child_in,
                stdout=child_out,
                stderr=child_err,
                pass_fds=(life,),
                start_new_session=True,
            )
        return stdin, readers[0], readers[1]

    async def _read(
        self, stdout: asyncio.StreamReader, to_session: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        with to_session:
            while True:
                try:
                    line = await stdout.readline()
                except ValueError:
                    self._broke = f"it sent a message of more than {MESSAGE_BYTES} bytes"
                    return
                if not line:
                    await self._exited()
                    return
                message = _parsed(line)
                if message is not None:
                    try:
                        await to_session.send(message)
                    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                        return

    async def _write(
        self,
        stdin: asyncio.WriteTransport,
        from_session: MemoryObjectReceiveStream[SessionMessage],
        to_session: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        async for sent in from_session:
            if stdin.is_closing():
                return
            line = sent.message.model_dump_json(by_alias=True, exclude_unset=True)
            stdin.write(line.encode() + b"\n")

    async def _listen(self, stderr: asyncio.StreamReader) -> None:
        while piece := await stderr.read(8192):
            self._said.add(piece)

    async def _exited(self, within_s: float = GRACE_S) -> bool:
        """Whether it and its keeper ended in that time."""
        assert self._process is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._process.wait()
        return self._process.returncode is not None

    async def _end(self) -> None:
        assert self._process is not None
        try:
            if not await self._exited():
                with contextlib.suppress(BrokenPipeError):
                    os.write(self._life, b"t")
                await self._exited()
        finally:
            self._let_go()  # also when this wait was cancelled: the keeper ends all, without us
        if not await self._exited(END_S):
            self._process.kill()

    def _let_go(self) -> None:
        if self._life >= 0:
            os.close(self._life)
            self._life = -1


def _parsed(line: bytes) -> SessionMessage | None:
    """None for what is no message: some servers log to stdout."""
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValidationError:
        return None
