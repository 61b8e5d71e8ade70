"""/api/sessions: list, show, delete, and the history of one."""

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from redis.exceptions import RedisError

from runcast_api import listing
from runcast_api.body import JsonRoute
from runcast_api.history import read_history
from runcast_api.paths import SessionId
from runcast_api.schemas import moment
from runcast_api.session_schemas import EventPage, SessionDocument, SessionList, SessionSummary
from runcast_api.state import ApiState, State, to_the_end
from runcast_api.tasks import cancel
from runcast_events.ids import START, EventId
from runcast_service.problem import responses
from runcast_tasks.errors import SessionBusy, TasksError

logger = logging.getLogger(__name__)

POLL_S = 0.05

router = APIRouter(tags=["sessions"], route_class=JsonRoute)


@router.get(
    "/api/sessions",
    operation_id="sessions_list",
    summary="Sessions, the last active first",
    responses=responses(400, 413, 422, 503),
)
async def sessions_list(
    state: ApiState,
    limit: listing.Limit = 50,
    cursor: listing.Cursor = None,
) -> SessionList:
    queue = state["queue"]
    sessions, next_cursor = await listing.newest(
        queue, queue.keys.sessions(state["tenant"]), limit, cursor, lambda members: _summaries(state, members)
    )
    return SessionList(sessions=[session.id for session in sessions], data=sessions, next_cursor=next_cursor)


async def _summaries(state: State, members: list[listing.Member]) -> list[SessionSummary | None]:
    exist = await state["records"].exists([session_id for session_id, _ in members])
    pipe = state["events_store"].pipeline(transaction=False)
    for session_id, _ in members:
        pipe.hmget(state["keyspace"].session(state["tenant"], session_id).session, ["title", "created_at"])
    shown = [
        SessionSummary(
            id=session_id,
            title=None if title is None else title.decode(),
            created_at=moment(int(created_at or 0)),
            last_active_at=moment(active_ms),
        )
        for (session_id, active_ms), (title, created_at) in zip(members, await pipe.execute(), strict=True)
    ]
    return [session if there else None for session, there in zip(shown, exist, strict=True)]


@router.get(
    "/api/sessions/{session_id}",
    operation_id="sessions_get",
    summary="One session: its conversation and its tasks",
    responses=responses(400, 404, 410, 413, 422, 503),
)
async def sessions_get(session_id: SessionId, state: ApiState) -> SessionDocument:
    return SessionDocument.of(await state["records"].session(session_id))


@router.delete(
    "/api/sessions/{session_id}",
    operation_id="sessions_delete",
    summary="Delete a session",
    status_code=204,
    responses=responses(400, 404, 409, 413, 422, 503),
)
async def sessions_delete(
    session_id: SessionId,
    state: ApiState,
    force: Annotated[bool, Query(description="Cancel its live tasks first, and wait for their end.")] = False,
) -> None:
    """Idempotent. Its id cannot be used again until the tombstone expires."""
    await to_the_end(state, _delete(state, session_id, force))


async def _delete(state: State, session_id: str, force: bool) -> None:
    if force:
        await _put_to_rest(state, session_id)
    try:
        await state["control"].delete_session(session_id)
    except SessionBusy:
        raise SessionBusy(session_id, await state["records"].live(session_id)) from None
    try:
        await state["queue"].drop(state["queue"].keys.sessions(state["tenant"]), [session_id])
    except (RedisError, OSError) as error:  # it is deleted; whoever lists next drops it
        logger.warning("deleted, but still in the index: %s", error, extra={"session_id": session_id})


async def _put_to_rest(state: State, session_id: str) -> None:
    """Cancel all live tasks until there is none. Raises SessionBusy when a running one does not end in time."""
    deadline = monotonic() + state["settings"].delete_wait_s
    while live := await state["records"].live(session_id):
        if monotonic() >= deadline:
            raise SessionBusy(session_id, live)
        for task_id in reversed(live):  # the holder last: its end must not start the next one
            if monotonic() >= deadline:
                break
            with suppress(TasksError):  # somebody else cancels or deletes too: the next look tells
                await cancel(state, task_id, "session deleted")
        await asyncio.sleep(POLL_S)


@router.get(
    "/api/sessions/{session_id}/events",
    operation_id="sessions_events",
    summary="The history of a session, in pages",
    response_class=Response,
    responses={
        200: {
            "description": 'A page. As NDJSON: one event a line, where there is a gap first a line `{"gap": …}`, and '
            'the next page as `Link: <…>; rel="next"`.',
            "model": EventPage,
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
        },
        **responses(400, 404, 410, 413, 422, 503),
    },
)
async def sessions_events(
    session_id: SessionId,
    state: ApiState,
    after: Annotated[str, Query(description="An event id, or `earliest`.", examples=["earliest"])] = "earliest",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    format: Annotated[Literal["json", "ndjson"], Query()] = "json",  # noqa: A002 - the parameter's name on the wire
) -> Response:
    """Oldest first. A page may hold fewer events than `limit` (its bytes are bounded) although there are more."""
    cursor = START if after == "earliest" else EventId.parse(after)
    keys = state["keyspace"].session(state["tenant"], session_id)
    history = await read_history(state["reader"], keys, session_id, cursor, limit)
    if format == "json":
        return Response(history.as_json(), media_type="application/json")
    headers = {}
    if history.next is not None:
        path = f"/api/sessions/{session_id}/events?after={history.next}&limit={limit}&format=ndjson"
        headers["Link"] = f'<{path}>; rel="next"'
    return Response(history.as_ndjson(), media_type="application/x-ndjson", headers=headers)
