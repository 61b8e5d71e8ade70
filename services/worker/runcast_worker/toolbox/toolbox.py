"""A task's tools: one call from its arguments to its last event, whatever the tool does."""

import asyncio
import hashlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from pydantic import JsonValue, ValidationError

from runcast_events.events import ApprovalRequired, Event, ToolCallComplete, ToolCallStart
from runcast_tasks.outputs import Outputs
from runcast_worker.engines import HandOver
from runcast_worker.metrics import MCP, UNKNOWN, Metrics
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.spans import in_tool_span
from runcast_worker.toolbox.approvals import Approvals
from runcast_worker.toolbox.journal import Journal
from runcast_worker.toolbox.telling import Telling
from runcast_worker.toolbox.told import INTERNAL, as_text, told_error, told_internal, told_result
from runcast_worker.tools import Surroundings, Tool, ToolFailed
from runcast_worker.tools.all import all_tools
from runcast_worker.tools.capture import Capture
from runcast_worker.tools.excerpt import shorten, writable
from runcast_worker.tools.refusals import check_size, invalid, unparsable
from runcast_worker.tools.spill import Spill, drop, spill

logger = logging.getLogger(__name__)

PIECES = 32
"""Pieces of output that wait for the engine; beyond that the tool waits."""

SHOWN_CHARS = 100
"""Of a tool's name, of a provider's id, or of arguments that are refused, this much is shown. No tool's name is
longer."""
RAW_BYTES = 8 * 1024
"""Of what a model said instead of arguments."""

INTERRUPTED = ToolFailed(
    "interrupted", "its worker stopped in the middle of this call; what it did is not known. Look before you repeat it"
)
_FAILURES = (Exception, asyncio.CancelledError, BaseExceptionGroup)


class Toolbox:
    """The tools of one attempt. Use as an async context manager: at its end no call runs any more.

    `allowed`: what the agent lists. `acknowledged`: waits until all that was yielded is in the log, so that no tool
    starts whose start nobody can know of. `more`: tools of MCP servers; one with the name of one of ours is left out.
    `redactor`: makes a filter for what calls say. `outputs`: where long outputs are kept; None: nowhere. `journal`:
    what calls of earlier attempts came to. `idempotent`: tools that may be called again where that is not known.
    `approve`: those that somebody has to approve."""

    def __init__(
        self,
        surroundings: Surroundings,
        allowed: Iterable[str],
        acknowledged: Callable[[], Awaitable[object]],
        metrics: Metrics,
        *,
        more: Sequence[Tool] = (),
        redactor: Callable[[], Redactor] = Redactor,
        outputs: Outputs | None = None,
        journal: Journal | None = None,
        idempotent: Iterable[str] = (),
        approve: Iterable[str] = (),
    ) -> None:
        self._surroundings, self._acknowledged, self._metrics = surroundings, acknowledged, metrics
        self._redactor, self._outputs = redactor, outputs
        self._journal, self._idempotent = journal or Journal(), frozenset(idempotent)
        self._approvals = Approvals(approve, self._journal, redactor)
        tools = all_tools()
        self._tools = {name: tools[name] for name in allowed if name in tools}
        self._labels = dict.fromkeys(self._tools)
        self._tools |= {tool.name: tool for tool in more if tool.name not in tools}
        self._running: set[asyncio.Task[dict[str, Any]]] = set()
        self._dropping: set[asyncio.Task[bool]] = set()
        self._over = False

    async def __aenter__(self) -> "Toolbox":
        return self

    async def __aexit__(self, *_: object) -> None:
        # An engine that is closed at a yield leaves its calls' generators to the garbage collector: too late.
        self._over = True
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.gather(*self._dropping)

    @property
    def offered(self) -> Sequence[Tool]:
        return tuple(self._tools.values())

    def approval(
        self, iteration: int, index: int, name: str, arguments: dict[str, JsonValue]
    ) -> ApprovalRequired | None:
        """See runcast_worker.engines.Tools."""
        return self._approvals.required(iteration, index, name, arguments) if name in self._tools else None

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
        wanted = None if raw_arguments is not None else self.approval(iteration, index, name, arguments)
        if wanted is not None:
            raise HandOver(wanted)
        call_id, began, outcome = f"{iteration}.{index}", monotonic(), "stopped"
        arguments, rejected = self._approvals.decided(iteration, index, name, arguments)
        redactor, name = self._redactor(), writable(name)
        shown: dict[str, Any] = {"arguments": {}}
        refused: ToolFailed | None = None
        try:
            if raw_arguments is not None:
                shown["raw_arguments"] = shorten(redactor.whole(writable(raw_arguments)), RAW_BYTES)
                raise unparsable(raw_arguments, self._tools.get(name))
            check_size(arguments)
            shown["arguments"] = redactor.value(arguments)
        except ToolFailed as failed:
            refused = failed
            shown.setdefault("raw_arguments", redactor.whole(as_text(arguments))[:SHOWN_CHARS])
        if provider_id is not None:
            shown["provider_id"] = redactor.whole(writable(provider_id))[:SHOWN_CHARS]
        about: dict[str, Any] = {
            "iteration": iteration,
            "tool_call_id": call_id,
            "tool_name": redactor.whole(name)[:SHOWN_CHARS],
        }
        start = ToolCallStart(**about, **shown)
        earlier = self._journal.find(start)
        yield start
        if isinstance(earlier, ToolCallComplete):
            yield earlier
            return
        if earlier is not None and not self._repeatable(name):
            refused = INTERRUPTED
        refused = rejected or refused
        told: dict[str, Any] = {}
        try:
            if refused is not None:
                told = {"error": told_error(refused, redactor)}
            else:
                await self._acknowledged()
                pieces: asyncio.Queue[Event | None] = asyncio.Queue(PIECES)
                run = partial(self._run, name, arguments, iteration, call_id, pieces)
                guarded = partial(self._guarded, run, name, call_id)
                running = asyncio.create_task(in_tool_span(about["tool_name"], call_id, guarded))
                running.set_name(f"tool {name[:SHOWN_CHARS]}")
                self._running.add(running)
                running.add_done_callback(self._running.discard)
                running.add_done_callback(lambda _: _wake(pieces))
                try:
                    while not (running.done() and pieces.empty()):
                        if (piece := await pieces.get()) is not None:
                            yield piece
                    if running.cancelled() and not self._over:  # by the tool
                        told = {"error": told_error(INTERNAL, redactor)}
                    else:
                        told = await running
                finally:
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
            outcome = "error" if "error" in told else "ok"
        finally:
            self._count(name, outcome, monotonic() - began)
        yield ToolCallComplete(**about, duration_ms=int((monotonic() - began) * 1000), **told)

    def _repeatable(self, name: str) -> bool:
        tool = self._tools.get(name)
        return name in self._idempotent or tool is None or not tool.changes

    def _count(self, name: str, outcome: str, seconds: float) -> None:
        label = name if name in self._labels else MCP if name in self._tools else UNKNOWN
        self._metrics.tool_calls.labels(label, outcome).inc()
        self._metrics.tool_seconds.labels(label, outcome).observe(seconds)

    async def _guarded(self, run: Callable[[], Awaitable[dict[str, Any]]], name: str, call_id: str) -> dict[str, Any]:
        """`run`, of which nothing is kept where it is stopped, or fails on the way to its end."""
        try:
            return await run()
        except _FAILURES as error:
            # Shielded: a call may be stopped twice, by its engine and by the toolbox, which waits for this.
            dropping = asyncio.create_task(drop(self._outputs, call_id))
            self._dropping.add(dropping)
            dropping.add_done_callback(self._dropping.discard)
            await asyncio.shield(dropping)
            return {"error": told_internal(name, error, self._redactor())}

    async def _run(
        self,
        name: str,
        arguments: dict[str, JsonValue],
        iteration: int,
        call_id: str,
        pieces: asyncio.Queue[Event | None],
    ) -> dict[str, Any]:
        """What ToolCallComplete tells."""
        capture, redactor = Capture(self._redactor, Spill(self._outputs, call_id)), self._redactor()
        telling = Telling(pieces, iteration, call_id, capture, redactor)
        try:
            result = await self._answer(name, arguments, telling)
            told, whole = told_result(redactor.value(result))
        except ToolFailed as failed:
            told, whole = {"error": told_error(failed, redactor)}, None
        except _FAILURES as error:
            told, whole = {"error": told_internal(name, error, redactor)}, None
        await telling.end()
        kept: str | None = None
        if whole is not None:
            told |= {"size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
            kept = await spill(self._outputs, call_id, whole)
        elif capture.cut or capture.long:
            kept = await capture.finish()
            told |= {"size": capture.size, "sha256": capture.sha256}
        return told if kept is None else {**told, "output_url": kept}

    async def _answer(self, name: str, arguments: dict[str, JsonValue], telling: Telling) -> JsonValue:
        tool = self._tools.get(name)
        if tool is None:
            raise ToolFailed(
                "unknown_tool", f"no tool {name[:SHOWN_CHARS]!r}; there are: {', '.join(self._tools) or 'none'}"
            )
        if tool.changes and self._surroundings.read_only:
            raise ToolFailed("read_only", f"{name} could change the workspace, and this agent may only read")
        try:
            checked = tool.arguments.model_validate(arguments)
        except ValidationError as error:
            raise invalid(error, tool) from None
        return await tool.call(checked, self._surroundings, telling)


def _wake(pieces: asyncio.Queue[Event | None]) -> None:
    """Whoever waits for a piece when the call has ended, however it did. Nobody does where there is no room for it."""
    if not pieces.full():
        pieces.put_nowait(None)
