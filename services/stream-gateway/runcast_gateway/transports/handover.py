"""uvicorn's HTTP protocol, with one thing more in the scope: a connection's transport, for who has answered.

A route authorises and sends the response start through ASGI like any other; then it may take the transport, as uvicorn
itself gives it to a WebSocket protocol. From there a delivery costs one write, and a connection no task, no queue and
no parser. What of uvicorn this relies on is named here alone; tests/gateway/test_handover.py and the range of versions
in pyproject.toml hold it.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.utils import get_remote_addr, is_ssl

from runcast_gateway.transports.framing import CHUNKED, PLAIN, Framing

HANDOVER = "runcast.handover"

REQUEST_S = 10.0
"""From a connection, or a request's first byte, to the end of its headers."""
HEAD_BYTES = 64 * 1024
TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class Receiver(asyncio.Protocol):
    """What a transport may be handed to. uvicorn calls `shutdown` when it is told to stop; it waits for `leave`."""

    __slots__ = ("_among",)

    def __init__(self) -> None:
        self._among: set[Any] | None = None

    def enter(self, among: set[Any]) -> None:
        """Be counted among the server's open connections."""
        self._among = among
        among.add(self)

    def leave(self) -> None:
        if self._among is not None:
            self._among.discard(self)

    def shutdown(self) -> None:
        """Open streams are drained by their own registry, which spreads their ends."""


class Handover:
    """One request's offer. `prepare` before the response start is sent; `take` right after."""

    __slots__ = ("_cycle", "_protocol")

    def __init__(self, protocol: "StreamProtocol", cycle: RequestResponseCycle) -> None:
        self._protocol, self._cycle = protocol, cycle

    def prepare(self) -> None:
        """An HTTP/1.0 client knows no chunks, which uvicorn would announce all the same."""
        if self._cycle.scope["http_version"] == "1.0":
            self._cycle.chunked_encoding = False

    @property
    def left(self) -> bool:
        """The client is gone, or was sent away for what it sent after its request."""
        return self._cycle.disconnected or self._protocol.transport.is_closing()

    @property
    def framing(self) -> Framing | None:
        """How to frame, once the response has started. None: a middleware holds the response start back."""
        if not self._cycle.response_started:
            return None
        return CHUNKED if self._cycle.chunked_encoding else PLAIN

    def take(self, receiver: Receiver) -> asyncio.Transport:
        """The transport, which from now on tells `receiver`. What the client may have sent after its request is
        dropped."""
        protocol, cycle = self._protocol, self._cycle
        transport = protocol.transport
        cycle.response_complete = True  # else run_asgi takes the return of the application for a broken response
        protocol.pipeline.clear()
        protocol.flow.resume_reading()  # a paused transport never hears the client leave
        protocol._unset_keepalive_if_required()
        protocol.connections.discard(protocol)
        receiver.enter(protocol.connections)
        transport.set_protocol(receiver)
        if protocol.flow.write_paused:  # nobody would tell the receiver
            receiver.pause_writing()
        if protocol.half_closed:  # or of this
            protocol.loop.call_soon(receiver.eof_received)
        protocol.let_go(cycle)
        del self._protocol, self._cycle  # or the scope, which has this, would keep them, and they it
        return transport


class StreamProtocol(HttpToolsProtocol):
    """Offers `scope["extensions"]["runcast.handover"]`, a Handover. Bounds what a client may send, and how long it may
    take, until its request is there: uvicorn does neither."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        # As uvicorn's own, but for the server's address, which costs system calls and which ASGI lets one leave out.
        self.connections.add(self)
        self.transport, self.flow = transport, FlowControl(transport)
        self.client = get_remote_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self.half_closed = False
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = self.loop.call_later(REQUEST_S, transport.close)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES and self._head_timer is not None and not self.transport.is_closing():
            self.transport.write(TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:  # another request of a connection that was kept
            self._head_bytes = 0
            self._head_timer = self.loop.call_later(REQUEST_S, self.transport.close)

    def on_headers_complete(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            offered: Any = {HANDOVER: Handover(self, self.cycle)}
            self.scope["extensions"] = (self.scope.get("extensions") or {}) | offered

    def handle_websocket_upgrade(self) -> None:
        """Another protocol has the transport; of this one nothing is left, as in `let_go`."""
        super().handle_websocket_upgrade()
        self.parser = self.scope = self.headers = self.flow = None  # type: ignore[assignment]
        self.transport = None  # type: ignore[assignment]

    def eof_received(self) -> bool:  # type: ignore[override]
        """Who has sent all that it has to say may wait for the answer."""
        self.half_closed = self.cycle is not None and not self.cycle.response_complete
        return self.half_closed

    def connection_lost(self, exc: Exception | None) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
        super().connection_lost(exc)

    def let_go(self, cycle: RequestResponseCycle) -> None:
        """Nobody needs this object any more: leave no cycle of references behind that keeps 4 KB until a collection."""
        self.parser = self.cycle = self.scope = self.headers = self.flow = None  # type: ignore[assignment]
        cycle.flow = cycle.transport = None  # type: ignore[assignment]
        self.transport = None  # type: ignore[assignment]
