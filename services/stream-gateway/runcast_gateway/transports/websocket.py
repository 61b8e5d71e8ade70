"""A stream as WebSocket messages, a text message for each frame, which is a line: written to the socket where the
server lets us, else through ASGI. Either is a transport whose protocol is the connection, and which a task runs."""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from starlette.types import Send

from runcast_gateway.transports.asgi import AsgiTransport
from runcast_service.websocket import WebSocketProtocol

END, COME_BACK, LATER, REFUSED, BROKEN = 1000, 1012, 1013, 1008, 1011
"""Close codes, registered at https://www.iana.org/assignments/websocket/websocket.xhtml#close-code-number"""


class Messages:
    """The framing of https://www.rfc-editor.org/rfc/rfc6455#section-5.2: what a server sends is not masked, so that all
    clients of a group get the same bytes."""

    END = b""  # a close frame, which is the server's: it knows which side was first

    @staticmethod
    def frame(data: bytes) -> bytes:
        parts: list[bytes] = []
        for line in data.split(b"\n"):
            size = len(line)
            if size == 0:
                continue
            if size < 126:
                parts.append(b"\x81%c" % size)
            elif size < 65536:
                parts.append(b"\x81\x7e" + size.to_bytes(2))
            else:
                parts.append(b"\x81\x7f" + size.to_bytes(8))
            parts.append(line)
        return b"".join(parts)


MESSAGES = Messages()


class SocketTransport(asyncio.Transport):
    """The socket's own transport, but for its end: the close frame and what follows it are the server's."""

    def __init__(self, protocol: asyncio.Protocol, server: WebSocketProtocol) -> None:
        super().__init__()
        self._server, self._socket = server, server.transport
        self._closed: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        server.follow(protocol)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not self._socket.is_closing():
            self._socket.write(data)

    def get_write_buffer_size(self) -> int:
        return self._socket.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._socket.get_extra_info(name, default)

    def close(self) -> None:
        if not self._closed.done():
            self._closed.set_result(True)

    def abort(self) -> None:
        if not self._closed.done():
            self._closed.set_result(False)
        self._socket.abort()

    def is_closing(self) -> bool:
        return self._closed.done()

    async def run(self, until_left: Coroutine[Any, Any, None]) -> bool:
        """Until closed (True), aborted, or left by the client: then `until_left` returns."""
        leaving = asyncio.create_task(until_left)
        try:
            await asyncio.wait((self._closed, leaving), return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                leaving.result()
                return False
            return self._closed.result()
        finally:
            self._server.follow(None)
            self.close()
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)


class SendTransport(AsgiTransport):
    """Through ASGI's `send`."""

    def __init__(self, protocol: asyncio.Protocol, send: Send) -> None:
        async def write(frame: bytes) -> None:
            await send({"type": "websocket.send", "text": frame.rstrip(b"\n").decode()})

        super().__init__(protocol, write)

    @staticmethod
    def _messages(waiting: list[bytes]) -> Sequence[bytes]:
        return b"".join(waiting).splitlines(keepends=True)


class DrainedWebSocket(WebSocketProtocol):
    """The server's protocol of WebSockets that the registry ends: spread over the drain, and each after its last frame.
    uvicorn would cut all of them at once."""

    def shutdown(self) -> None:
        if not self.handshake_complete:
            super().shutdown()
