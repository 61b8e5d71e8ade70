"""What a client has not taken, and since when: a socket says that it is full, not that it is stuck."""

import asyncio
import socket

from runcast_service.untaken import untaken

TCP_CLOSE = b"\x07"
"""include/net/tcp_states.h: the first byte of Linux's TCP_INFO is the connection's state."""


def is_reset(transport: asyncio.WriteTransport) -> bool:
    """Whether the client's machine has said that nobody is there. A transport that is half-closed does not read, and
    would hear of it at its next write."""
    endpoint = transport.get_extra_info("socket")
    if endpoint is None or not hasattr(socket, "TCP_INFO"):
        return False
    try:
        return bool(endpoint.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == TCP_CLOSE)
    except OSError:
        return True


class Backlog:
    """Of one client, while somebody asks for it again and again."""

    __slots__ = ("_bytes", "_since", "_transport")

    def __init__(self, transport: asyncio.WriteTransport, now: float) -> None:
        self._transport = transport
        self._bytes, self._since = untaken(transport), now

    def stands_still(self, now: float, timeout_s: float) -> bool:
        """True if something waits and nothing of it was taken for `timeout_s`."""
        waiting = untaken(self._transport)
        if waiting != self._bytes:
            self._bytes, self._since = waiting, now
        return waiting > 0 and now - self._since > timeout_s
