"""The body of a request on its way through the edge: passed on as it comes, given up when nothing more comes, and ended
where the service has answered already, since httpx2 reads an answer only when it has sent the whole body.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from time import monotonic
from typing import Any

from httpcore2 import WriteError
from starlette.types import Message, Receive

SILENCE_S = 30.0
LOOK_EVERY_S = 0.05


class ClientGone(Exception):
    """The client left while it sent its request."""


class BodyStalled(Exception):
    """Nothing of the body came for too long."""


class Upload:
    """An async iterable of what the client sends, once. `sent` is set when nothing more will be read of it. Needs a
    connection of its own, made for this request: `trace`, the request's extension of that name, learns of it there."""

    def __init__(self, receive: Receive, silence_s: float) -> None:
        self._receive, self._silence_s = receive, silence_s
        self._upstream: Any = None
        self.sent = asyncio.Event()

    async def trace(self, name: str, info: Mapping[str, Any]) -> None:
        if name == "connection.connect_tcp.complete":
            self._upstream = info["return_value"]
        elif name == "connection.start_tls.started":  # what can be read there may be TLS's own: an early answer waits
            self._upstream = None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Raises ClientGone, BodyStalled."""
        more = True
        while more:
            message = await self._next()
            if message["type"] == "http.disconnect":
                raise ClientGone
            more = message.get("more_body", False)
            if chunk := message.get("body"):
                yield chunk
        self.sent.set()

    async def _next(self) -> Message:
        deadline = monotonic() + self._silence_s
        waiting = asyncio.ensure_future(self._receive())
        try:
            while True:
                if self._upstream is not None and self._upstream.get_extra_info("is_readable"):
                    # The one error after which the transport stops sending and reads: made for a broken connection.
                    raise WriteError("answered before the end of the body")
                if waiting.done():
                    return waiting.result()
                if monotonic() >= deadline:
                    raise BodyStalled
                await asyncio.wait((waiting,), timeout=LOOK_EVERY_S)
        finally:
            waiting.cancel()
