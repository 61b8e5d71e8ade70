"""Errors as `application/problem+json` (RFC 9457) with a stable `code`, the same in every service.

A `detail` says what was wrong and what was expected. Nothing of the process shows: no traceback, no class name.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from runcast_service.request_id import current_request_id

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
MAX_ERRORS = 20
"""Wrong fields an answer lists: a body may have a hundred thousand."""
MAX_NAME_CHARS = 80
PROBLEM = "runcast.problem"
"""In the scope of a request that was answered by a problem: its code."""
_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_large"}


class FieldProblem(BaseModel):
    """One wrong field of a body, query or path."""

    loc: list[str | int] = Field(examples=[["body", "task"]])
    msg: str = Field(examples=["Field required"])


class ProblemDocument(BaseModel):
    """What every error answers with."""

    type: str = Field(examples=["https://runcast.dev/problems/not_found"])
    title: str = Field(examples=["Not found"])
    status: int = Field(examples=[404])
    code: str = Field(description="Stable: programs may switch on it.", examples=["not_found"])
    detail: str = Field(examples=["no such task: s1.abcdefghij"])
    errors: list[FieldProblem] | None = None
    request_id: str | None = Field(None, description="Of the request, as X-Request-Id and the logs have it.")


class Problem(Exception):
    """An error to answer with. `extra` joins the document."""

    def __init__(
        self, status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **extra: object
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.headers, self.extra = status, code, detail, headers, extra

    @property
    def document(self) -> dict[str, object]:
        request_id = current_request_id()
        return {
            "type": f"https://runcast.dev/problems/{self.code}",
            "title": self.code.replace("_", " ").capitalize(),
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
            **({"request_id": request_id} if request_id else {}),
        }

    def response(self, request: Request | None = None) -> Response:
        """`request`: whose scope is told the code, for whoever counts problems."""
        if request is not None:
            request.scope[PROBLEM] = self.code
        return JSONResponse(self.document, self.status, dict(self.headers or {}), MEDIA_TYPE)


def invalid_fields(code: str, errors: Sequence[Mapping[str, Any]]) -> Problem:
    """What pydantic found wrong, as a 422."""
    told = [{"loc": [_short(part) for part in each["loc"]], "msg": each["msg"]} for each in errors[:MAX_ERRORS]]
    first = told[0]
    detail = f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
    return Problem(422, code, detail, errors=told)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI: these statuses answer with a problem document."""
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    return {
        status: {"description": "Problem", "content": {MEDIA_TYPE: {"schema": schema}}, "model": ProblemDocument}
        for status in statuses
    }


def install_problems(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""

    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return error.response(request)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return invalid_fields("invalid_request", error.errors()).response(request)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = _CODES.get(error.status_code, "bad_request" if error.status_code < 500 else "internal")
        return Problem(error.status_code, code, str(error.detail), headers=error.headers).response(request)

    @app.exception_handler(RedisError)
    @app.exception_handler(OSError)
    async def store(request: Request, error: Exception) -> Response:
        logger.warning("the store did not answer: %s", error)
        detail = "the store cannot be reached or refuses writes; try again"
        return Problem(503, "store_unavailable", detail, headers={"Retry-After": "2"}).response(request)

    @app.exception_handler(Exception)
    async def internal(_: Request, error: Exception) -> Response:
        request_id = current_request_id()  # of middleware only Starlette's own sees this answer
        headers = {"X-Request-Id": request_id} if request_id else None
        return Problem(500, "internal", "an error of ours; it was logged", headers=headers).response()


def _short(part: str | int) -> str | int:
    return part[:MAX_NAME_CHARS] if isinstance(part, str) else part
