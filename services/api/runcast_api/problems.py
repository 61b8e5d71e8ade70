"""Which problem document answers each error of the libraries, in one place."""

from fastapi import FastAPI, Request
from starlette.responses import Response

from runcast_events.errors import AlreadyTerminal, IllegalMove, InvalidEvent, InvalidId
from runcast_service.problem import Problem, install_problems
from runcast_tasks.errors import (
    Ending,
    EventTrimmed,
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


async def _answer(_: Request, error: Exception) -> Response:
    return problem_of(error).response()


def problem_of(error: Exception) -> Problem:
    detail = str(error)
    match error:
        case InvalidId():
            return Problem(422, "invalid_id", detail)
        case InvalidEvent():
            return Problem(422, "invalid_request", detail)
        case NotFound():
            return Problem(404, "not_found", detail)
        case NotReplicated():
            return Problem(503, "store_unavailable", detail, headers={"Retry-After": "1"})
        case SessionDeleted():
            return Problem(410, "session_deleted", detail)
        case UnknownEvent():
            return Problem(404, "unknown_event", detail)
        case EventTrimmed():
            return Problem(410, "event_trimmed", detail)
        case SessionExists():
            return Problem(409, "session_exists", detail)
        case SessionBusy():
            return Problem(409, "session_busy", detail, task_ids=error.task_ids)
        case AlreadyTerminal() | IllegalMove():
            return Problem(409, "illegal_state", detail, state=error.state)
        case Ending():
            return Problem(409, "illegal_state", detail, state="running")
        case _:
            return Problem(409, "conflict", detail, headers={"Retry-After": "1"})
