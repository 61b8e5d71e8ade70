"""What was asked of an attempt that let go in that moment: its task rests, and nobody else would find the request."""

import logging

from runcast_events.errors import EventsError
from runcast_events.keys import SessionKeys
from runcast_tasks.control import Control, Requests
from runcast_tasks.errors import NotFound, TasksError
from runcast_tasks.record import Records
from runcast_worker.attempt.asked import Asked, asked_for
from runcast_worker.deps import Deps

logger = logging.getLogger(__name__)


async def answer_late(deps: Deps, tenant: str, keys: SessionKeys, task_id: str) -> bool:
    """Where the session's holder is paused or waits for an approval, cancel it if a cancel waits for it: of somebody,
    or of a task that interrupts it. Where it paused although it was resumed meanwhile, have it go on. Returns whether
    it does. What is queued or running is its attempt's, or the reaper's."""
    requests = await Requests(deps.events, keys, task_id).orders()
    cancel, resume = asked_for("cancel", requests), asked_for("resume", requests)
    if cancel is None and resume is None:
        return False
    control = Control(deps.events, deps.log, deps.keyspace, tenant)
    try:
        state = (await Records(deps.events, deps.keyspace, tenant).task(task_id)).state
        if cancel is not None and state in ("paused", "waiting_approval"):
            await _cancel(deps, control, tenant, task_id, cancel)
        elif resume is not None and state == "paused":
            await deps.queue.expect(tenant, task_id)
            await control.resume(task_id, resume.by)
            await deps.queue.ring(tenant, task_id)
            return True
    except NotFound:
        pass
    except (TasksError, EventsError) as error:
        logger.warning("a late request could not be answered: %s", error, extra={"task_id": task_id})
    return False


async def _cancel(deps: Deps, control: Control, tenant: str, task_id: str, cancel: Asked) -> None:
    cancelled = await control.cancel(task_id, cancel.by, cancel.reason)
    if cancelled.next_task is not None:
        await deps.queue.ring(tenant, cancelled.next_task)
