"""The listening socket, whose options every client's socket inherits."""

import contextlib
import socket

from runcast_service.server import bind

SEND_BYTES = 128 * 1024
"""The kernel otherwise takes up to 4 MB for a client that does not read before anybody hears of it. The kernel doubles
this for its own bookkeeping; a quarter of a megabyte on the way is 20 Mbit/s at 100 ms."""
IDLE_S, PROBE_S, PROBES = 60, 10, 3
"""For what hangs before its stream begins; a stream has the send timeout. Not TCP_USER_TIMEOUT, which ends clients that
read: docs/decisions/0023."""


def listen(host: str, port: int) -> socket.socket:
    """Bound, and set up. Raises PortTaken."""
    listening = bind(host, port)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"KEEPIDLE": IDLE_S, "KEEPINTVL": PROBE_S, "KEEPCNT": PROBES}
    for name, value in options.items():
        with contextlib.suppress(AttributeError):  # Linux has them all
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{name}"), value)
    return listening
