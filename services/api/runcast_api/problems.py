"""Which problem document answers each error of the libraries, in one place."""

from fastapi import FastAPI, Request
from starlette.responses import Response

from runcast_events.errors import AlreadyTerminal, IllegalMove, InvalidEvent, InvalidId
from runcast_service.problem import Problem, install_problems
from runcast_tasks.errors import (
    Ending,
    EventTrimmed,
    InputExists,
    NotFound,
    NotReplicated,
    SessionBusy,
    SessionDeleted,
    SessionExists,
    TasksError,
    UnknownEvent,
)

_ANSWERED = (InvalidId, InvalidEvent, AlreadyTerminal, IllegalMove, TasksError)


def install(app: FastAPI) -> None:
    """Every error of `app` becomes a problem document. What is not listed here is an error of ours: 500."""
    install_problems(app)
    for error in _ANSWERED:
        app.add_exception_handler(error, _answer)


async def _answer(request: Request, error: Exception) -> Response:
    return problem_of(error).response(request)


_PLAIN: dict[type[Exception], tuple[int, str]] = {
    InvalidId: (422, "invalid_id"),
    InvalidEvent: (422, "invalid_request"),
    NotFound: (404, "not_found"),
    SessionDeleted: (410, "session_deleted"),
    UnknownEvent: (404, "unknown_event"),
    EventTrimmed: (410, "event_trimmed"),
    SessionExists: (409, "session_exists"),
    InputExists: (409, "input_exists"),
}
"""Status and code of those that have nothing more to say than their text."""


def problem_of(error: Exception) -> Problem:
    detail = str(error)
    if (plain := _PLAIN.get(type(error))) is not None:
        return Problem(*plain, detail)
    match error:
        case NotReplicated():
            return Problem(503, "store_unavailable", detail, headers={"Retry-After": "1"})
        case SessionBusy():
            return Problem(409, "session_busy", detail, task_ids=error.task_ids)
        case AlreadyTerminal() | IllegalMove():
            return Problem(409, "illegal_state", detail, state=error.state)
        case Ending():
            return Problem(409, "illegal_state", detail, state="running")
        case _:
            return Problem(409, "conflict", detail, headers={"Retry-After": "1"})
