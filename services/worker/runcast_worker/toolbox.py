"""A task's tools: one call from its arguments to its last event, whatever the tool does."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from time import monotonic
from typing import Any, Literal

from pydantic import JsonValue, ValidationError

from runcast_events.events import Event, ToolCallComplete, ToolCallStart, ToolCallStream, ToolError
from runcast_worker.metrics import UNKNOWN, Metrics
from runcast_worker.tools import ARGUMENTS_BYTES, Surroundings, Tell, Tool, ToolFailed
from runcast_worker.tools.list_files import ListFiles
from runcast_worker.tools.read_file import ReadFile
from runcast_worker.tools.search import Search
from runcast_worker.tools.shell import Shell
from runcast_worker.tools.write_file import WriteFile

logger = logging.getLogger(__name__)

PIECES = 32
"""Pieces of output that wait for the engine; beyond that the tool waits."""

MESSAGE_BYTES = 16 * 1024
"""Of an error's message at most this much is told, as JSON: its head and its tail."""
SHOWN_CHARS = 100
"""Of a tool's name, or of arguments that are refused, this much is shown. No tool's name is longer."""


class _Telling:
    """What a running call tells, on its way to the engine."""

    def __init__(self, pieces: asyncio.Queue[Event | None], iteration: int, call_id: str) -> None:
        self._pieces, self._iteration, self._call_id = pieces, iteration, call_id

    async def stream(self, source: Literal["stdout", "stderr"], text: str) -> None:
        await self._pieces.put(
            ToolCallStream(iteration=self._iteration, tool_call_id=self._call_id, stream=source, chunk=text)
        )

    async def event(self, event: Event) -> None:
        await self._pieces.put(event)


def all_tools() -> dict[str, Tool]:
    """Every tool there is, by name."""
    tools: tuple[Tool, ...] = (Shell(), ReadFile(), WriteFile(), ListFiles(), Search())
    return {tool.name: tool for tool in tools}


class Toolbox:
    """The tools of one attempt. Use as an async context manager: at its end no call runs any more.

    `allowed`: what the agent lists. `acknowledged`: waits until all that was yielded is in
    the log, so that no tool starts whose start nobody can know of."""

    def __init__(
        self,
        surroundings: Surroundings,
        allowed: Iterable[str],
        acknowledged: Callable[[], Awaitable[object]],
        metrics: Metrics,
    ) -> None:
        self._surroundings, self._acknowledged, self._metrics = surroundings, acknowledged, metrics
        tools = all_tools()
        self._tools = {name: tools[name] for name in allowed if name in tools}
        self._running: set[asyncio.Task[JsonValue | ToolError]] = set()

    async def __aenter__(self) -> "Toolbox":
        return self

    async def __aexit__(self, *_: object) -> None:
        # An engine that is closed at a yield leaves its calls' generators to the garbage collector: too late.
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    @property
    def offered(self) -> Sequence[Tool]:
        return tuple(self._tools.values())

    async def call(
        self,
        iteration: int,
        index: int,
        name: str,
        arguments: dict[str, JsonValue],
        *,
        raw_arguments: str | None = None,
        provider_id: str | None = None,
    ) -> AsyncGenerator[Event, None]:
        """The call's events; see runcast_worker.engines.Tools."""
        call_id, began, outcome = f"{iteration}.{index}", monotonic(), "stopped"
        name = _writable(name)[:SHOWN_CHARS]
        refused = _refused(arguments)
        if refused is not None:
            self._metrics.tool_calls.labels(name if name in self._tools else UNKNOWN, "error").inc()
            raw = _writable(repr(arguments)[:SHOWN_CHARS])
            yield ToolCallStart(
                iteration=iteration, tool_call_id=call_id, tool_name=name, arguments={}, raw_arguments=raw
            )
            yield ToolCallComplete(
                iteration=iteration, tool_call_id=call_id, tool_name=name, duration_ms=0, error=refused
            )
            return
        yield ToolCallStart(iteration=iteration, tool_call_id=call_id, tool_name=name, arguments=arguments)
        try:
            await self._acknowledged()
            pieces: asyncio.Queue[Event | None] = asyncio.Queue(PIECES)
            running = asyncio.create_task(
                self._run(name, arguments, pieces, _Telling(pieces, iteration, call_id)), name=f"tool {name}"
            )
            self._running.add(running)
            running.add_done_callback(self._running.discard)
            try:
                while (piece := await pieces.get()) is not None:
                    yield piece
                answer = await running
            finally:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            outcome = "error" if isinstance(answer, ToolError) else "ok"
        finally:
            self._metrics.tool_calls.labels(name if name in self._tools else UNKNOWN, outcome).inc()
        told: dict[str, Any] = {"error": answer} if isinstance(answer, ToolError) else {"result": answer}
        duration_ms = int((monotonic() - began) * 1000)
        yield ToolCallComplete(
            iteration=iteration, tool_call_id=call_id, tool_name=name, duration_ms=duration_ms, **told
        )

    async def _run(
        self, name: str, arguments: dict[str, JsonValue], pieces: asyncio.Queue[Event | None], tell: Tell
    ) -> JsonValue | ToolError:
        """The tool's result, or what went wrong. A None is the last piece; there is none after a cancellation, since
        nobody takes pieces then."""
        answer = await self._answer(name, arguments, tell)
        await pieces.put(None)
        return answer

    async def _answer(self, name: str, arguments: dict[str, JsonValue], tell: Tell) -> JsonValue | ToolError:
        try:
            tool = self._tool(name)
            return await tool.call(tool.arguments.model_validate(arguments), self._surroundings, tell)
        except ToolFailed as failed:
            return _error(failed.code, failed.message)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            return _error("invalid_arguments", problems)
        except Exception:
            logger.exception("the tool %s failed", name)
            return _error("internal", "the tool failed by an error of ours; it was logged")

    def _tool(self, name: str) -> Tool:
        tool = self._tools.get(name)
        if tool is None:
            raise ToolFailed("unknown_tool", f"no tool {name!r}; there are: {', '.join(self._tools) or 'none'}")
        if tool.changes and self._surroundings.read_only:
            raise ToolFailed("read_only", f"{name} could change the workspace, and this agent may only read")
        return tool


def _refused(arguments: dict[str, JsonValue]) -> ToolError | None:
    """Why arguments cannot be written into an event, if they cannot."""
    try:
        size = _json_bytes(arguments)
    except ValueError as error:
        return _error("invalid_arguments", f"the arguments cannot be written as JSON: {error}")
    if size <= ARGUMENTS_BYTES:
        return None
    return _error("invalid_arguments", f"the arguments take {size} bytes as JSON; expected at most {ARGUMENTS_BYTES}")


def _error(code: str, message: str) -> ToolError:
    """With as much of the message's head and tail as an event has room for."""
    message = _writable(message)
    whole, keep = len(message), MESSAGE_BYTES  # characters; each may take several bytes, so halve until it fits
    shown = message
    while _json_bytes(shown) > MESSAGE_BYTES:
        keep //= 2
        shown = f"{message[:keep]}\n… {whole} characters in all …\n{message[-keep:]}"
    return ToolError(code=code, message=shown)


def _json_bytes(value: JsonValue) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def _writable(text: str) -> str:
    """Without lone surrogates, which are no Unicode."""
    return text.encode(errors="replace").decode()
