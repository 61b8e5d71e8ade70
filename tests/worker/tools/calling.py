"""Calls of one tool with plain arguments, as the toolbox makes them, with what they told."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from runcast_agents import SandboxPolicy
from runcast_events.events import Event, ToolCallStream
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.toolbox.telling import Telling
from runcast_worker.tools import Surroundings, ToolFailed
from runcast_worker.tools.capture import Capture
from runcast_worker.tools.spill import Spill


class Call:
    """`phases`: those of the session's plan. What the calls streamed and told is kept, of all of them."""

    def __init__(self, workspace: Path, fetch_allow: tuple[str, ...] = (), policy: SandboxPolicy | None = None) -> None:
        self.phases: Sequence[Mapping[str, str]] = []
        self._surroundings = Surroundings(
            workspace, policy=policy or SandboxPolicy(), fetch_allow=fetch_allow, phases=lambda: self.phases
        )
        self._pieces: asyncio.Queue[Event | None] = asyncio.Queue()
        self.told: list[Event] = []

    async def __call__(self, tool: Any, **arguments: JsonValue) -> Any:
        capture = Capture(Redactor, Spill(None, "1.0"))
        telling = Telling(self._pieces, 1, "1.0", capture, Redactor())
        try:
            return await tool.call(tool.arguments.model_validate(arguments), self._surroundings, telling)
        finally:
            while not self._pieces.empty():
                event = self._pieces.get_nowait()
                assert event is not None
                self.told.append(event)

    @property
    def streamed(self) -> list[tuple[str, str]]:
        return [(event.stream, event.chunk) for event in self.told if isinstance(event, ToolCallStream)]

    async def refused(self, tool: Any, **arguments: JsonValue) -> ToolFailed:
        with pytest.raises(ToolFailed) as failed:
            await self(tool, **arguments)
        return failed.value
