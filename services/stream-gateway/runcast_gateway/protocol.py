"""uvicorn's HTTP protocol with one thing more in the scope: how to end a connection that takes nothing.

Closing it would wait for its buffer to flush, which a client that does not read never lets happen.
"""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

ABORT = "runcast.abort"


class StreamProtocol(HttpToolsProtocol):
    """Offers `scope["extensions"]["runcast.abort"]`: a function that drops the connection and what it buffers."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions = self.scope.setdefault("extensions", {}) or {}
        extensions[ABORT] = {"abort": self.transport.abort}
        self.scope["extensions"] = extensions
