"""GET /api/tasks/{task_id}/tool-calls/{tool_call_id}/output."""

import re
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Response
from starlette.responses import StreamingResponse

from runcast_api.paths import TaskId
from runcast_api.state import ApiState
from runcast_events.ids import session_of
from runcast_service.problem import responses
from runcast_tasks.errors import NotFound
from runcast_tasks.outputs import find_output, read_output

router = APIRouter(tags=["tasks"])

_CALL_ID = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")
HEADERS = {"Content-Disposition": "inline", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store"}
"""The text is a program's: a browser must not take it for a page."""


@router.get(
    "/api/tasks/{task_id}/tool-calls/{tool_call_id}/output",
    operation_id="tasks_output",
    summary="The whole output of a tool call",
    response_class=Response,
    responses={
        200: {
            "description": "As `size` and `sha256` of the event `tool_call_complete` have it.",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **responses(400, 404, 413, 422, 503),
    },
)
async def tasks_output(
    task_id: TaskId,
    tool_call_id: Annotated[str, Path(description="As the events name it.", examples=["1.0"])],
    state: ApiState,
) -> Response:
    """There is one where the event has an `output_url`: the output was too long for the event, and could be kept."""
    if not _CALL_ID.fullmatch(tool_call_id):
        raise NotFound("output", f"{task_id} {tool_call_id[:64]}")
    keys = state["keyspace"].session(state["tenant"], session_of(task_id))
    kept = await find_output(state["events_store"], keys, task_id, tool_call_id)
    pieces = read_output(state["events_store"], kept)
    first = await anext(pieces)  # what is missing by now is still answered with a 404

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    headers = {**HEADERS, "Content-Length": str(kept.size)}
    return StreamingResponse(body(), media_type="text/plain; charset=utf-8", headers=headers)
