"""What a client has not taken, and since when: a socket says that it is full, not that it is stuck."""

import asyncio

from runcast_service.untaken import untaken


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
