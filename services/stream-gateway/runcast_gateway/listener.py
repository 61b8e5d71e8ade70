"""The listening socket, whose options every client's socket inherits."""

import contextlib
import socket

from runcast_service.server import bind

SEND_BYTES = 128 * 1024
"""The kernel otherwise takes up to 4 MB for a client that does not read before anybody hears of it. The kernel doubles
this for its own bookkeeping; a quarter of a megabyte on the way is 20 Mbit/s at 100 ms."""
LONGER_S = 15
"""Than the send timeout the kernel waits for a client that acknowledges nothing, or has no room: one whose machine has
vanished while its stream is live would else be noticed after a quarter of an hour."""
IDLE_S, PROBE_S, PROBES = 60, 10, 3
"""The same where nothing is sent. Heartbeats are, so that this is for what hangs before its stream begins."""


def listen(host: str, port: int, send_timeout_s: float) -> socket.socket:
    """Bound, and set up. Raises PortTaken. The send timeout is the gateway's own to keep: this waits longer."""
    listening = bind(host, port)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    user_timeout_ms = int((send_timeout_s + LONGER_S) * 1000)
    options = {"USER_TIMEOUT": user_timeout_ms, "KEEPIDLE": IDLE_S, "KEEPINTVL": PROBE_S, "KEEPCNT": PROBES}
    for name, value in options.items():
        with contextlib.suppress(AttributeError):  # Linux has them all
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, f"TCP_{name}"), value)
    return listening
