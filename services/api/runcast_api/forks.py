"""/api/sessions/{session_id}/fork."""

import logging
from time import time

from fastapi import APIRouter, Response
from redis.exceptions import RedisError

from runcast_api.body import JsonRoute
from runcast_api.fork_schemas import ForkReceipt, ForkRequest
from runcast_api.paths import SessionId
from runcast_api.state import ApiState, State, to_the_end
from runcast_events.ids import EventId
from runcast_service.problem import responses
from runcast_tasks.fork import Fork, Forks

logger = logging.getLogger(__name__)

router = APIRouter(tags=["sessions"], route_class=JsonRoute)


@router.post(
    "/api/sessions/{session_id}/fork",
    operation_id="sessions_fork",
    summary="Fork a session at an event",
    status_code=201,
    responses={
        200: {"model": ForkReceipt, "description": "The same fork was there already."},
        **responses(400, 404, 408, 409, 410, 413, 415, 422, 503),
    },
)
async def sessions_fork(
    session_id: SessionId, response: Response, state: ApiState, body: ForkRequest | None = None
) -> ForkReceipt:
    """A new session with the conversation, the plan and the todos that this one had at that event. Tasks and the files
    of the workspace stay behind. A body is optional."""
    at = None if body is None or body.at is None else EventId.parse(body.at)
    new_id = None if body is None else body.session_id
    fork = await to_the_end(state, _fork(state, session_id, at, new_id))
    if not fork.created:
        response.status_code = 200
    receipt = ForkReceipt.of(fork)
    response.headers["Location"] = receipt.links.self_
    return receipt


async def _fork(state: State, session_id: str, at: EventId | None, new_id: str | None) -> Fork:
    forks = Forks(state["events_store"], state["log"], state["reader"], state["keyspace"], state["tenant"])
    fork = await forks.fork(session_id, at, new_id)
    queue = state["queue"]
    try:
        await queue.index_again(queue.keys.sessions(state["tenant"]), {fork.session_id: int(time() * 1000)})
    except (RedisError, OSError) as error:  # it is there; its first task puts it into the index
        logger.warning("forked, and not in the index: %s", error, extra={"session_id": fork.session_id})
    return fork
