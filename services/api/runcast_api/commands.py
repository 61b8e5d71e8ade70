"""/api/tasks/{task_id}/…: pause, resume, say something, approve."""

import logging
from typing import Any

from fastapi import APIRouter
from redis.exceptions import RedisError

from runcast_api.body import JsonRoute
from runcast_api.command_schemas import ApprovalRequest, CommandReceipt, InputRequest, PauseRequest, ResumeRequest
from runcast_api.paths import TaskId
from runcast_api.state import ApiState, State, to_the_end
from runcast_api.tasks import CALLER
from runcast_events.events import ApprovalResolved
from runcast_service.problem import Problem, responses
from runcast_tasks.control import NOBODY_RUNS

logger = logging.getLogger(__name__)

PROBLEMS = responses(400, 404, 408, 409, 410, 413, 415, 422, 503)

router = APIRouter(tags=["tasks"], route_class=JsonRoute)


@router.post(
    "/api/tasks/{task_id}/pause",
    operation_id="tasks_pause",
    summary="Pause a task",
    status_code=202,
    responses=PROBLEMS,
)
async def tasks_pause(task_id: TaskId, state: ApiState, body: PauseRequest | None = None) -> CommandReceipt:
    """Idempotent. What waits in the queue is paused at once; a running attempt pauses between two iterations, and tells
    it by the event `task_paused`. It then holds no worker, but its session. One that has no further iteration, such as
    a process, ends without a pause. A body is optional."""
    reason = None if body is None else body.reason
    return CommandReceipt.of(task_id, await to_the_end(state, state["control"].pause(task_id, CALLER, reason)))


@router.post(
    "/api/tasks/{task_id}/resume",
    operation_id="tasks_resume",
    summary="Resume a paused task",
    status_code=202,
    responses=PROBLEMS,
)
async def tasks_resume(task_id: TaskId, state: ApiState, body: ResumeRequest | None = None) -> CommandReceipt:
    """Idempotent. It goes on where it was, on any worker; one that was asked to pause, and has not yet, goes on. A body
    is optional, and empty."""

    async def resume() -> str:
        await _expect(state, task_id)
        return await _go_on(state, task_id, await state["control"].resume(task_id, CALLER))

    return CommandReceipt.of(task_id, await to_the_end(state, resume()))


@router.post(
    "/api/tasks/{task_id}/input",
    operation_id="tasks_input",
    summary="Say something to a live task",
    status_code=202,
    responses=PROBLEMS,
)
async def tasks_input(task_id: TaskId, body: InputRequest, state: ApiState) -> CommandReceipt:
    """Its model is told before it is asked the next time, also where it has just answered; `message_added` shows it.
    Idempotent with an `input_id`; without one, what is sent twice is said twice. Only of agents with a model."""
    (found,) = await state["records"].summaries([task_id])
    agent = None if found is None else state["agents"].get(found.agent)
    if found is not None and agent is not None and agent.engine != "llm":
        said = f"the agent {found.agent} has the engine {agent.engine}; expected one with a model"
        raise Problem(422, "no_input", said)
    return CommandReceipt.of(
        task_id, await to_the_end(state, state["control"].say(task_id, CALLER, body.text, body.input_id or ""))
    )


@router.post(
    "/api/tasks/{task_id}/approvals/{tool_call_id}",
    operation_id="tasks_approve",
    summary="Decide about a call that waits for approval",
    status_code=202,
    responses=PROBLEMS,
)
async def tasks_approve(task_id: TaskId, tool_call_id: str, body: ApprovalRequest, state: ApiState) -> CommandReceipt:
    """Idempotent. An approved call is made, with other arguments where the body has some; of a rejected one the agent
    is told. The event `approval_required` names the call and its arguments."""
    decided: dict[str, Any] = {"tool_call_id": tool_call_id[:32], "decision": body.decision, "by": CALLER}
    if body.arguments is not None:
        decided["arguments"] = body.arguments

    async def decide() -> str:
        approval = ApprovalResolved.model_validate(decided)
        await _expect(state, task_id)
        return await _go_on(state, task_id, await state["control"].decide(task_id, approval, body.reason))

    return CommandReceipt.of(task_id, await to_the_end(state, decide()))


async def _expect(state: State, task_id: str) -> None:
    """Leave the reaper's hint about a task before it is queued again, so that it is found whatever happens to us or to
    the queue store afterwards. Of one that rests on, the reaper drops it. A running one's hint is its attempt's: to set
    it would put off the reaper's look for as long as somebody repeats the command."""
    (found,) = await state["records"].summaries([task_id])
    if found is not None and found.state in NOBODY_RUNS:
        await state["queue"].expect(state["tenant"], task_id)


async def _go_on(state: State, task_id: str, now: str) -> str:
    """Have a task that is queued again found by a worker at once. The hint is left once more: the reaper may have
    dropped the first one while the task still rested."""
    if now == "queued":
        try:
            await state["queue"].ring(state["tenant"], task_id)
            await state["queue"].expect(state["tenant"], task_id)
        except (RedisError, OSError) as error:  # it is in the log, so it is done
            logger.warning("queued again, to be found by its hint: %s", error, extra={"task_id": task_id})
    return now
