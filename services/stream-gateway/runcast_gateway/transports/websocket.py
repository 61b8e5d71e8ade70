"""A stream as WebSocket messages, through ASGI: a text message for each frame, which is a line."""

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.types import Scope, Send

from runcast_gateway.transports.asgi import AsgiTransport
from runcast_service.websocket import SOCKET, WebSocketProtocol

END, COME_BACK, LATER, REFUSED, BROKEN = 1000, 1012, 1013, 1008, 1011
"""Close codes, registered at https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number"""


class WebSocketTransport(AsgiTransport):
    """Of one client, after the handshake."""

    def __init__(self, protocol: asyncio.Protocol, scope: Scope, send: Send) -> None:
        async def write(frame: bytes) -> None:
            await send({"type": "websocket.send", "text": frame.rstrip(b"\n").decode()})

        super().__init__(protocol, write)
        self._socket: asyncio.Transport | None = (scope.get("extensions") or {}).get(SOCKET)

    @staticmethod
    def _messages(waiting: list[bytes]) -> Sequence[bytes]:
        return b"".join(waiting).splitlines(keepends=True)

    def get_write_buffer_size(self) -> int:
        return self._size + (0 if self._socket is None else self._socket.get_write_buffer_size())

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default if self._socket is None else self._socket.get_extra_info(name, default)

    def abort(self) -> None:
        super().abort()
        if self._socket is not None:
            self._socket.abort()  # the server would first wait until the client has taken what it was sent


class DrainedWebSocket(WebSocketProtocol):
    """The server's protocol of WebSockets that the registry ends: spread over the drain, and each after its last frame.
    uvicorn would cut all of them at once."""

    def shutdown(self) -> None:
        if not self.handshake_complete:
            super().shutdown()
