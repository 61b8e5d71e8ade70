"""What a running call tells, on its way to the engine."""

import asyncio
from typing import Any

from runcast_events.events import EVENTS, Event, ToolCallStream
from runcast_worker.secrets.redaction import Redactor
from runcast_worker.tools import OUTPUT_BYTES, Captured
from runcast_worker.tools.capture import Capture, Source

TOLD = frozenset({"plan_created", "phase_start", "phase_complete", "todos_updated", "progress"})
"""The events that a tool may tell."""


class Telling:
    """One call's; see runcast_worker.tools.Tell. `pieces`: what the engine takes from."""

    def __init__(
        self,
        pieces: asyncio.Queue[Event | None],
        iteration: int,
        call_id: str,
        capture: Capture,
        redactor: Redactor,
    ) -> None:
        self._pieces, self._iteration, self._call_id = pieces, iteration, call_id
        self._capture, self._redactor = capture, redactor

    async def stream(self, source: Source, text: str) -> None:
        for piece in await self._capture.feed(source, text):
            await self._show(source, piece)

    async def captured(self, limit: int = OUTPUT_BYTES) -> Captured:
        await self.end()
        return Captured(self._capture.text(limit), self._capture.size)

    async def event(self, event: Event) -> None:
        """Raises ValueError for an event that is not a tool's to tell."""
        if event.event_type not in TOLD:
            raise ValueError(f"{event.event_type} is not a tool's event; expected one of {', '.join(sorted(TOLD))}")
        fields: Any = self._redactor.value(event.model_dump(mode="json", exclude_unset=True))
        await self._pieces.put(EVENTS[event.event_type].model_validate({"iteration": self._iteration, **fields}))

    async def end(self) -> None:
        """Show what was held back."""
        for source, piece in await self._capture.end():
            await self._show(source, piece)

    async def _show(self, source: Source, piece: str) -> None:
        await self._pieces.put(
            ToolCallStream(iteration=self._iteration, tool_call_id=self._call_id, stream=source, chunk=piece)
        )
