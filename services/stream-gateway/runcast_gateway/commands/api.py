"""The api, asked on behalf of a client: with its credential, within a time and a size."""

import asyncio
from dataclasses import dataclass

import httpx2
from pydantic_core import from_json

from runcast_gateway.commands.command import ApiRequest
from runcast_service.problem import Problem
from runcast_service.request_id import HEADER as REQUEST_ID
from runcast_service.request_id import current_request_id
from runcast_service.traceparent import HEADER as TRACEPARENT
from runcast_service.tracing import current_span

TIMEOUT_S = 10.0
"""For all of a command; the api itself gives up on its store sooner."""
ANSWER_BYTES = 256 * 1024
CONNECTIONS = 100
KEEPALIVE_S = 2.0
"""Below uvicorn's 5 s of keep-alive: else a command could meet a connection that the api just closes."""
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: object


class Api:
    """Use as an async context manager."""

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url, self._timeout_s = httpx2.URL(url), timeout_s
        limits = httpx2.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE_S
        )
        # The transport, not a client: cookies, redirects and proxies of the environment are not a gateway's business.
        self._transport = httpx2.AsyncHTTPTransport(trust_env=False, limits=limits)

    async def __aenter__(self) -> "Api":
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._transport.__aexit__()

    async def ask(self, asked: ApiRequest, authorization: bytes | None) -> Answer:
        """What the api answers, errors of its own among it. Raises Problem where it gives no answer."""
        headers = [(b"host", self._url.netloc), (b"content-type", b"application/json"), *asked.headers]
        if request_id := current_request_id():
            headers.append((REQUEST_ID, request_id.encode()))
        if traceparent := current_span().traceparent:
            headers.append((TRACEPARENT, traceparent.encode()))
        if authorization is not None:
            headers.append((b"authorization", authorization))
        url = self._url.copy_with(raw_path=asked.path.encode())
        request = httpx2.Request("POST", url, headers=headers, content=asked.body)
        try:
            async with asyncio.timeout(self._timeout_s):
                response = await self._transport.handle_async_request(request)
                try:
                    return Answer(response.status_code, await _document(response))
                finally:
                    await response.aclose()
        except _NOT_SENT:
            detail = "the api cannot be reached; nothing was done, try again"
            raise Problem(503, "api_unavailable", detail) from None
        except (httpx2.TransportError, TimeoutError):
            detail = f"the api gave no answer within {self._timeout_s:g} s; maybe it was done: the stream tells"
            raise Problem(504, "api_timeout", detail) from None


async def _document(response: httpx2.Response) -> object:
    """Raises Problem, TransportError."""
    body = b""
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > ANSWER_BYTES:
            raise _strange(response, f"it is larger than {ANSWER_BYTES} bytes")
    try:
        return from_json(body)
    except ValueError:
        raise _strange(response, "it is no JSON") from None


def _strange(response: httpx2.Response, why: str) -> Problem:
    return Problem(
        502, "upstream_unavailable", f"the answer with status {response.status_code} is not the api's: {why}"
    )
