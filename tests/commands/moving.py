"""What happens to tasks besides commands: they go on, are taken for dead, or their worker is deployed."""

import asyncio
from contextlib import suppress

from tests.attempts import TENANT, session_keys
from tests.commands.desk import END_S, Desk
from tests.commands.told import Session
from tests.conftest import wait_until

TAKEN = {"task_requeued", "task_cancelled"}
STEP_S = 0.2
"""A step that cannot be taken, since the task waits for something else, is given up after this long."""


async def step(desk: Desk, session: Session, count: int) -> None:
    """Let a held session's tasks go on by some events."""
    if not session.held or not count:
        return
    paces = desk.stage.paces
    await paces.let(session.id, count)

    async def done() -> bool:
        await desk.observe(session)
        moving = any(task.state in ("queued", "running") for task in session.story.tasks.values())
        return not paces.under_way[session.id] and (paces.left(session.id) == 0 or not moving)

    with suppress(AssertionError):  # it may wait for a page, or behind another
        await wait_until(done, STEP_S)
    await paces.let(session.id, 0)
    await wait_until(lambda: not paces.under_way[session.id])
    await desk.observe(session)


async def advance(desk: Desk, session: Session, length: int) -> None:
    """Until the log of a held session has so many events; what waits for an approval gets it."""
    await desk.observe(session)
    while len(session.log) < length:
        await desk.help(session)
        before = len(session.log)

        async def grown(before: int = before) -> bool:
            await desk.observe(session)
            return len(session.log) > before

        if before < length and not session.story.at_rest:
            await desk.stage.paces.let(session.id, 1)
            await wait_until(grown, END_S)


async def take_for_dead(desk: Desk, session: Session, task_id: str) -> None:
    """As if its worker had vanished; but it is alive, and finds out only later."""
    await desk.observe(session)
    if session.story.tasks[task_id].state != "running":
        return
    desk.told[task_id].taken += 1
    length = len(session.log)
    async with asyncio.timeout(END_S):
        while not {entry.type for entry in session.log[length:]} & TAKEN:  # it may take its lease again first
            await desk.stage.redis.delete(session_keys(session.id).lease)
            await desk.stage.redis.zadd("runcast:due", {f"{TENANT}/{task_id}": 1})
            await asyncio.sleep(0.02)
            await desk.observe(session)


async def deploy(desk: Desk) -> None:
    """A worker gives back what runs, and another comes. Nothing is held any more: that could not be given back."""
    await desk.free(*desk.sessions.values())
    for told in desk.told.values():
        told.taken += 1
    await desk.stage.deploy()
    await desk.observe_all()
