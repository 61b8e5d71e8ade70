"""/api/tasks: accept, list, show, cancel."""

import logging

from fastapi import APIRouter, Response
from redis.exceptions import RedisError

from runcast_agents import Agent
from runcast_api import listing
from runcast_api.agent_schemas import choosable
from runcast_api.body import JsonRoute
from runcast_api.paths import TaskId
from runcast_api.schemas import CancelReceipt, CancelRequest, TaskAccepted, TaskDocument, TaskList, TaskRequest
from runcast_api.schemas import TaskSummary as Summary
from runcast_api.state import ApiState, State, to_the_end
from runcast_service.problem import Problem, responses
from runcast_service.tracing import current_span
from runcast_tasks.control import Cancelled
from runcast_tasks.errors import SessionBusy, TasksError
from runcast_tasks.submit import NewTask, Receipt, drop_expired, interruption, submit

logger = logging.getLogger(__name__)

CALLER = "anonymous"
"""Who cancels, as the event says it, while callers are not known (auth: none)."""

router = APIRouter(tags=["tasks"], route_class=JsonRoute)


@router.post(
    "/api/tasks",
    operation_id="tasks_create",
    summary="Accept a task",
    status_code=202,
    responses=responses(400, 408, 409, 410, 413, 415, 422, 503),
)
async def tasks_create(body: TaskRequest, response: Response, state: ApiState) -> TaskAccepted:
    """Answers 202 when the task is in the session's log and will run. `links.events` streams it."""
    agent = state["default_agent"] if body.agent is None else body.agent
    if agent not in state["agents"]:
        known = ", ".join(state["agents"])
        raise Problem(422, "unknown_agent", f"unknown agent {agent[:64]!r}: expected one of {known}")
    _check_model(state["agents"][agent], agent, body.model)
    task = NewTask(
        body.task,
        agent,
        body.session_id,
        body.model,
        body.params,
        body.metadata,
        on_busy=body.on_busy,
        by=CALLER,
        traceparent=current_span().traceparent,
    )
    accepted = TaskAccepted.of(await to_the_end(state, accept(state, task)))
    await drop_expired(state["queue_store"], state["queue"], state["records"], state["tenant"])
    state["metrics"].tasks_accepted.labels(agent).inc()
    response.headers["Location"] = accepted.links.self_
    return accepted


@router.get(
    "/api/tasks", operation_id="tasks_list", summary="Tasks, newest first", responses=responses(400, 413, 422, 503)
)
async def tasks_list(
    state: ApiState,
    limit: listing.Limit = 50,
    cursor: listing.Cursor = None,
) -> TaskList:
    async def read(members: list[listing.Member]) -> list[Summary | None]:
        summaries = await state["records"].summaries([task_id for task_id, _ in members])
        return [None if summary is None else Summary.of(summary) for summary in summaries]

    queue = state["queue"]
    tasks, next_cursor = await listing.newest(queue, queue.keys.tasks(state["tenant"]), limit, cursor, read)
    return TaskList(data=tasks, next_cursor=next_cursor)


@router.get(
    "/api/tasks/{task_id}", operation_id="tasks_get", summary="One task", responses=responses(400, 404, 413, 422, 503)
)
async def tasks_get(task_id: TaskId, state: ApiState) -> TaskDocument:
    return TaskDocument.of(await state["records"].task(task_id))


@router.post(
    "/api/tasks/{task_id}/cancel",
    operation_id="tasks_cancel",
    summary="Cancel a task",
    status_code=202,
    responses={
        200: {"model": CancelReceipt, "description": "It was over before."},
        **responses(400, 404, 408, 409, 410, 413, 415, 422, 503),
    },
)
async def tasks_cancel(
    task_id: TaskId, response: Response, state: ApiState, body: CancelRequest | None = None
) -> CancelReceipt:
    """Idempotent. What nobody runs is cancelled at once; a running attempt is asked to stop, and its end comes as the
    event `task_cancelled`. A body is optional."""
    cancelled = await to_the_end(state, cancel(state, task_id, None if body is None else body.reason))
    if cancelled.ended:
        response.status_code = 200
    return CancelReceipt.of(task_id, cancelled)


def _check_model(agent: Agent, name: str, model: str | None) -> None:
    if model is None or agent.engine != "llm" or model in (allowed := choosable(agent)):
        return
    expected = f"expected one of {', '.join(allowed)}" if allowed else "this agent leaves no choice; leave it out"
    raise Problem(422, "unknown_model", f"unknown model {model[:64]!r} of {name}: {expected}", models=allowed)


async def accept(state: State, task: NewTask) -> Receipt:
    """Submit, and cancel what the task interrupts. Raises InvalidId, SessionDeleted, SessionBusy."""
    try:
        receipt = await submit(state["log"], state["queue"], state["keyspace"], state["tenant"], task)
    except SessionBusy as busy:
        raise SessionBusy(busy.session_id, await state["records"].live(busy.session_id)) from None
    if receipt.interrupted is not None:
        try:
            await cancel(state, receipt.interrupted, interruption(receipt.task_id))
        except (TasksError, RedisError, OSError) as error:  # it is accepted, and the request waits for the holder
            logger.warning("to be interrupted later: %s", error, extra={"task_id": receipt.interrupted})
    return receipt


async def cancel(state: State, task_id: str, reason: str | None) -> Cancelled:
    """Cancel, and what follows from it in the queue. Raises NotFound, SessionDeleted."""
    cancelled = await state["control"].cancel(task_id, CALLER, reason)
    try:
        if cancelled.next_task is not None:  # first: it has somebody waiting
            await state["queue"].ring(state["tenant"], cancelled.next_task)
        if cancelled.state != "running":
            await state["queue"].forget(state["tenant"], task_id)
    except (RedisError, OSError) as error:  # it is in the log, so it is done: asked again, it would not ring any more
        logger.warning("cancelled, the next to be found by its hint: %s", error, extra={"task_id": task_id})
    return cancelled
