"""Ids in paths. Checked by the libraries' patterns and not by FastAPI's, so that a wrong one is always `invalid_id`."""

from typing import Annotated

from fastapi import Depends, Path

from runcast_events.ids import check_session_id, check_task_id


async def _session_id(
    session_id: Annotated[str, Path(description="1 to 64 of A-Z a-z 0-9 _ -", examples=["s1"])],
) -> str:
    return check_session_id(session_id)


async def _task_id(
    task_id: Annotated[str, Path(description="As the receipt gave it.", examples=["s1.abcdefghij"])],
) -> str:
    return check_task_id(task_id)


SessionId = Annotated[str, Depends(_session_id)]
TaskId = Annotated[str, Depends(_task_id)]
