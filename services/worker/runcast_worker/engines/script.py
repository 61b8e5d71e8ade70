"""The script engine: plays the events it is given, or makes as many as asked for. For tests, load and demos.

`params`: {events: [{event_type, …fields, delay_ms?}, …]} or {count, rate?, bytes?}: that many `output` deltas of
`bytes` ASCII characters, `rate` a second (0: as fast as possible). Only agents of the agents file use it.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from time import monotonic
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from runcast_events.events import ENGINE_EVENTS, EVENTS, Event, Output, OutputComplete, OutputStart
from runcast_worker.engines import EngineError, EngineTask

PART_CHARS = 1024 * 1024
"""A part that grows beyond this ends, and the next begins: what is made may be far more than memory holds."""


class ScriptParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    events: Annotated[list[dict[str, JsonValue]], Field(max_length=10_000)] | None = None
    count: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    rate: Annotated[float, Field(ge=0, le=1_000_000)] = 0
    bytes: Annotated[int, Field(ge=1, le=32_768)] = 32

    @model_validator(mode="after")
    def _one_of(self) -> "ScriptParams":
        if (self.events is None) == (self.count is None):
            raise ValueError("expected either events or count")
        return self


class ScriptEngine:
    """An engine; see runcast_worker.engines."""

    async def run(self, task: EngineTask) -> AsyncGenerator[Event, None]:
        params = parse(task.record.params)
        if params.events is not None:
            script = [_step(index, fields) for index, fields in enumerate(params.events)]
            due = monotonic()
            for event, delay_s in script:
                due += delay_s
                await _wait(due)
                yield event
            return
        assert params.count is not None
        part, made = 1, 0
        while made < params.count:
            size = min(params.count - made, max(1, PART_CHARS // params.bytes))
            if made == 0:
                began = monotonic()
            async for event in _part(str(part), size, params, began, made):
                yield event
            made += size
            part += 1


def parse(params: Mapping[str, Any]) -> ScriptParams:
    try:
        return ScriptParams.model_validate(params)
    except ValidationError as error:
        raise EngineError(f"params: {_problems(error)}") from None


def _step(index: int, fields: Mapping[str, JsonValue]) -> tuple[Event, float]:
    """An event and the seconds to wait before it."""
    where, kind, delay_ms = f"params.events[{index}]", fields.get("event_type"), fields.get("delay_ms", 0)
    if not isinstance(kind, str) or kind not in ENGINE_EVENTS:
        raise EngineError(f"{where}: event_type {kind!r:.80}: expected one of {', '.join(sorted(ENGINE_EVENTS))}")
    if not isinstance(delay_ms, int | float) or not 0 <= delay_ms <= 60_000:
        raise EngineError(f"{where}: delay_ms {delay_ms!r:.80}: expected 0 to 60000")
    try:
        return EVENTS[kind].model_validate(fields), delay_ms / 1000
    except ValidationError as error:
        raise EngineError(f"{where}: {kind}: {_problems(error)}") from None


def _problems(error: ValidationError) -> str:
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}".lstrip(": ") for e in error.errors()[:5])


async def _wait(due: float) -> None:
    rest = due - monotonic()
    if rest > 0:
        await asyncio.sleep(rest)


async def _part(part_id: str, size: int, params: ScriptParams, began: float, made: int) -> AsyncGenerator[Event, None]:
    """One output part of `size` deltas. Event i is due at began + i / rate: lateness is caught up, never added up."""
    text = "".join(chr(ord("a") + i % 26) for i in range(params.bytes))
    yield OutputStart(part_id=part_id)
    for index in range(size):
        if params.rate:
            await _wait(began + (made + index) / params.rate)
        yield Output(part_id=part_id, delta=text, offset=index * params.bytes)
    yield OutputComplete(part_id=part_id, content=text * size)
