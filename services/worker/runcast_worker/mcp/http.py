"""A server behind a URL: streamable HTTP, by the SDK's transport over a client of ours with bounds."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import httpx2
from mcp.client.streamable_http import streamable_http_client

from runcast_worker.mcp.stdio import MESSAGE_BYTES

CONNECT_S = 10.0


class Http:
    """`connect` once. `why`: what is known of how it failed, for an error. `words`: it has none for the log."""

    words = ""

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float) -> None:
        self._url, self._headers, self._timeout_s = url, headers, timeout_s
        self.why: str | None = None

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[object, None]:
        """Streams as mcp.Client takes them."""
        timeout = httpx2.Timeout(min(CONNECT_S, self._timeout_s), read=self._timeout_s + 1)
        async with (
            httpx2.AsyncClient(
                headers=dict(self._headers),
                timeout=timeout,
                transport=_Bounded(),
                event_hooks={"response": [self._note]},
            ) as client,
            streamable_http_client(self._url, http_client=client, max_sse_event_size=MESSAGE_BYTES) as streams,
        ):
            yield streams

    async def _note(self, response: httpx2.Response) -> None:
        """The SDK tells of an error that it was one, not which."""
        self.why = f"HTTP {response.status_code} {response.reason_phrase}" if response.status_code >= 400 else None


class _Bounded(httpx2.AsyncHTTPTransport):
    """Bounds what is read whole; of an event stream the SDK bounds each event."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        if not response.headers.get("content-type", "").lower().startswith("text/event-stream"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _BoundedStream(response.stream)
        return response


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for chunk in self._stream:
            size += len(chunk)
            if size > MESSAGE_BYTES:
                raise httpx2.StreamError(f"the body has more than {MESSAGE_BYTES} bytes")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
