"""Request bodies: how large and how slow they may be, and JSON read strictly. Pure but for the middleware's clock.

FastAPI's own `max_body_size` answers in plain text and its JSON reader takes NaN, so both are ours.
"""

import asyncio
from collections.abc import Callable, Coroutine
from email.message import Message as Header
from math import isfinite
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runcast_service.problem import Problem

MAX_BODY_BYTES = 1024 * 1024
MAX_DEPTH = 64
_INT64 = range(-(2**63), 2**63)


class BodyLimit:
    """ASGI middleware: a body that is too large is refused before it is read whole, one that is too slow in time.

    The connection stays open: what else of the body arrives is thrown away by the server, so that a client that sends
    first and reads later still gets the answer instead of a reset.
    """

    def __init__(self, app: ASGIApp, timeout_s: float, max_bytes: int = MAX_BODY_BYTES) -> None:
        self._app, self._timeout_s, self._max_bytes = app, timeout_s, max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "").lstrip("0")
        if announced.isdecimal() and (len(announced) > 15 or int(announced) > self._max_bytes):
            await self._too_large().response(Request(scope))(scope, receive, send)
            return
        received, complete = 0, False
        deadline = asyncio.get_running_loop().time() + self._timeout_s

        async def bounded() -> Message:
            nonlocal received, complete
            if complete:  # what is awaited now is the disconnect
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                detail = f"the body did not arrive within {self._timeout_s:g} s"
                raise Problem(408, "body_timeout", detail) from None
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise self._too_large()
            complete = not message.get("more_body", False)
            return message

        await self._app(scope, bounded, send)

    def _too_large(self) -> Problem:
        return Problem(413, "too_large", f"the body is larger than {self._max_bytes} bytes, the limit")


class JsonRoute(APIRoute):
    """A route whose body is read by `parse_json`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        if self.body_field is None:
            return handler

        async def strict(request: Request) -> Response:
            checked = _JsonRequest(request.scope, request.receive)
            await checked.read()
            return await handler(checked)

        return strict


class _JsonRequest(Request):
    _document: object = None

    async def read(self) -> None:
        """Read and check the body here: FastAPI would make any error inside `json()` a 400 without its reason."""
        try:
            body = await self.body()
        except ClientDisconnect:
            raise Problem(400, "incomplete_body", "the client went away before its body was whole") from None
        if body:
            _check_headers(self.headers)
            self._document = parse_json(body)

    async def json(self) -> Any:
        return self._document


def _check_headers(headers: Headers) -> None:
    header = Header()
    header["content-type"] = headers.get("content-type", "")
    kind, subtype = header.get_content_maintype(), header.get_content_subtype()
    if kind != "application" or not (subtype == "json" or subtype.endswith("+json")):
        raise Problem(415, "unsupported_media_type", "the body must be sent as Content-Type: application/json")
    if headers.get("content-encoding", "identity") != "identity":
        raise Problem(415, "unsupported_media_type", "the body must be sent without Content-Encoding")


def parse_json(body: bytes) -> object:
    """RFC 8259, UTF-8. Refused beside what is no JSON: NaN and infinite numbers, integers beyond 64 bits, lone
    surrogates, nesting deeper than MAX_DEPTH. Of a name that is repeated the last value counts. Raises Problem."""
    try:
        document: object = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise Problem(400, "invalid_json", f"the body is not valid JSON: {error}") from None
    _check_values(document)
    return document


def _check_values(document: object) -> None:
    depth, level = 0, [document]
    while level:
        containers = [value for value in level if isinstance(value, dict | list)]
        if containers and depth == MAX_DEPTH:
            raise Problem(400, "invalid_json", f"the body is nested deeper than {MAX_DEPTH} levels")
        for value in level:
            if isinstance(value, float) and not isfinite(value):  # 1e999
                raise Problem(400, "invalid_json", "the body has a number too large for a double")
            if isinstance(value, int) and value not in _INT64:
                raise Problem(400, "invalid_json", "the body has an integer that does not fit into 64 bits")
        level = [inner for c in containers for inner in (c.values() if isinstance(c, dict) else c)]
        depth += 1
