"""uvicorn's WebSocket protocol, made fit for strangers and for slow clients.

What of uvicorn this relies on is named here alone; tests/service/test_websocket.py holds it.
"""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from runcast_service.backlog import Backlog

SOCKET = "runcast.socket"
"""`scope["extensions"]` has it: the WebSocketProtocol itself, for who writes to its transport or cuts it."""
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """To be given to `serve` as `ws`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._backlog: Backlog | None = None
        self._follower: asyncio.Protocol | None = None

    def follow(self, follower: asyncio.Protocol | None) -> None:
        """Tell it from now on whether there is room: for somebody who writes whole frames to `transport` itself, which
        is allowed until that is closing."""
        self._follower = follower
        if follower is not None and not self.writable.is_set():
            follower.pause_writing()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._follower is not None:
            self._follower.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._follower is not None:
            self._follower.resume_writing()

    def shutdown(self) -> None:
        """uvicorn has a connection closed that its client may just be closing."""
        try:
            super().shutdown()
        except InvalidState:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """A handshake that cannot be read is answered: uvicorn would leave the client waiting for ever."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            self.transport.write(_BAD_REQUEST)
            self.transport.close()

    def handle_connect(self, event: Any) -> None:
        """The application runs in a task that has not begun yet when this returns."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            extensions: dict[str, Any] = self.scope["extensions"] or {}
            extensions[SOCKET] = self

    def send_receive_event_to_app(self) -> None:
        """Text that is no UTF-8 closes the connection; uvicorn would write a traceback of its client's mistake."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.fail(1007, "text must be UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    async def send(self, message: Any) -> None:
        """An application that refuses the handshake has completed it; uvicorn would log an error of it."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def send_keepalive_ping(self) -> None:
        super().send_keepalive_ping()
        self._backlog = Backlog(self.transport, self.loop.time())

    def keepalive_timeout(self) -> None:
        """A client that is slow, and takes what lies before the ping, is waited for. One that takes nothing is cut:
        its transport would never be done with what it is to send first."""
        assert self._backlog is not None, "no ping was sent"
        moved, waiting = self._backlog.moved(), self._backlog.waiting
        if moved and waiting and not self.transport.is_closing():
            self.pong_timer = self.loop.call_later(self.ping_timeout or 0, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        if waiting:
            self.transport.abort()
