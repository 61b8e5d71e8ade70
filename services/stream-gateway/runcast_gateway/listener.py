"""The listening socket, whose options every client's socket inherits."""

import contextlib
import socket

from runcast_service.server import bind

SEND_BYTES = 128 * 1024
"""The kernel otherwise takes up to 4 MB for a client that does not read before anybody hears of it. The kernel doubles
this for its own bookkeeping; a quarter of a megabyte on the way is 20 Mbit/s at 100 ms."""
UNACKNOWLEDGED_MS = 30_000
"""A client whose machine has vanished is found this long after something was sent to it; else it takes a quarter of an
hour."""
IDLE_S, PROBE_S, PROBES = 60, 10, 3
"""The same where nothing is sent. Heartbeats are, so that this is for what hangs before its stream begins."""


def listen(host: str, port: int) -> socket.socket:
    """Bound, and set up. Raises PortTaken."""
    listening = bind(host, port)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    options = {"USER_TIMEOUT": UNACKNOWLEDGED_MS, "KEEPIDLE": IDLE_S, "KEEPINTVL": PROBE_S, "KEEPCNT": PROBES}
    for name, value in options.items():
        with contextlib.suppress(AttributeError):  # Linux has them all
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{name}"), value)
    return listening
