"""Holders that rest, and were interrupted by a task behind them: who submitted that one cancels them, or died first."""

import logging

from runcast_events.keys import SessionKeys
from runcast_tasks.control import Control, Requests
from runcast_tasks.errors import NotFound, TasksError
from runcast_tasks.record import Records
from runcast_worker.asked import waiting_cancel
from runcast_worker.deps import Deps

logger = logging.getLogger(__name__)


async def end_interrupted(deps: Deps, tenant: str, keys: SessionKeys, task_id: str) -> None:
    """Cancel the session's holder if a cancel waits for it while it is paused or waits for an approval: no attempt will
    find that. What is queued or running is its attempt's, or the reaper's."""
    cancel = await waiting_cancel(Requests(deps.events, keys, task_id))
    if cancel is None:
        return
    try:
        if (await Records(deps.events, deps.keyspace, tenant).task(task_id)).state not in (
            "paused",
            "waiting_approval",
        ):
            return
        control = Control(deps.events, deps.log, deps.keyspace, tenant)
        cancelled = await control.cancel(task_id, cancel.by, cancel.reason)
    except NotFound:
        return
    except TasksError as error:
        logger.warning("an interrupted task could not be cancelled: %s", error, extra={"task_id": task_id})
        return
    if cancelled.next_task is not None:
        await deps.queue.ring(tenant, cancelled.next_task)
