"""GET /api/tasks/{task_id}/log: what the task's process printed, rendered from the event log."""

from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse

from runcast_api.body import JsonRoute
from runcast_api.loglines import LogLine, Rendering, read_log
from runcast_api.paths import TaskId
from runcast_api.state import ApiState
from runcast_events.continuity import Gap
from runcast_service.problem import responses

TAIL_LINES = 1000
TAIL_CHARS = 4 * 1024 * 1024
"""What a tail keeps in memory at most; older lines of it are left out."""

router = APIRouter(tags=["tasks"], route_class=JsonRoute)


@router.get(
    "/api/tasks/{task_id}/log",
    operation_id="tasks_log",
    summary="What the task's process printed",
    response_class=Response,
    responses={
        200: {
            "description": "Its lines so far. As text, a line in brackets tells where lines are missing or another "
            "attempt begins; as JSON lines are {attempt, line_num, stream, timestamp, line}, and {gap} where some are "
            "missing.",
            "content": {
                "text/plain": {"schema": {"type": "string"}},
                "application/json": {"schema": {"type": "object"}},
                "application/x-ndjson": {"schema": {"type": "string"}},
            },
        },
        **responses(400, 404, 410, 413, 422, 503),
    },
)
async def tasks_log(
    task_id: TaskId,
    state: ApiState,
    format: Annotated[Literal["text", "json", "ndjson"], Query()] = "text",  # noqa: A002 - its name on the wire
    tail: Annotated[int | None, Query(ge=1, le=TAIL_LINES, description="Only the last so many lines.")] = None,
    ansi: Annotated[
        Literal["strip", "keep"], Query(description="`keep`: with the escape sequences of colours and the like.")
    ] = "strip",
) -> Response:
    """Of a running task: the lines until now; its events stream what follows. Tasks of other engines have none."""
    record = await state["records"].task(task_id)
    keys = state["keyspace"].session(state["tenant"], record.session_id)
    pages = read_log(state["reader"], keys, record)
    rendering = Rendering(format, keep_ansi=ansi == "keep")
    headers = {"X-Content-Type-Options": "nosniff"}
    if tail is not None:
        items = await newest(pages, tail)
        body = rendering.begin() + rendering.items(items) + rendering.end()
        return Response(body, media_type=rendering.media_type, headers=headers)
    # Before the answer begins, so that what fails here is still a problem document.
    first: Sequence[LogLine | Gap] = await anext(pages, [])
    return StreamingResponse(_stream(rendering, first, pages), media_type=rendering.media_type, headers=headers)


async def newest(pages: AsyncIterator[Sequence[LogLine | Gap]], count: int) -> list[LogLine | Gap]:
    """The last `count` lines, with the gaps between them."""
    kept: deque[LogLine | Gap] = deque()
    lines = chars = 0
    async for page in pages:
        for item in page:
            kept.append(item)
            if isinstance(item, LogLine):
                lines, chars = lines + 1, chars + len(item.line)
            while lines > count or chars > TAIL_CHARS:
                dropped = kept.popleft()
                if isinstance(dropped, LogLine):
                    lines, chars = lines - 1, chars - len(dropped.line)
    if lines == count:  # what is missing before them was not asked for
        while isinstance(kept[0], Gap):
            kept.popleft()
    return list(kept)


async def _stream(
    rendering: Rendering, first: Sequence[LogLine | Gap], pages: AsyncIterator[Sequence[LogLine | Gap]]
) -> AsyncIterator[bytes]:
    yield rendering.begin() + rendering.items(first)
    async for page in pages:
        if page:
            yield rendering.items(page)
    yield rendering.end()
