"""A bound on silence: what is heard puts the end off."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic


class Silence:
    """See `silence`. `heard` and `ours` cost no timer: they are called for every delta."""

    def __init__(self, limit_s: float, timeout: asyncio.Timeout) -> None:
        self._limit_s, self._timeout = limit_s, timeout
        self._since: float | None = monotonic()
        self.timer = asyncio.get_running_loop().call_later(limit_s, self._look)

    def heard(self) -> None:
        """Something came; silence begins."""
        self._since = monotonic()

    def ours(self) -> None:
        """What follows takes our time, until `heard`."""
        self._since = None

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        rest = self._limit_s if self._since is None else self._since + self._limit_s - monotonic()
        if rest > 0:
            self.timer = loop.call_later(rest, self._look)
        else:
            self._timeout.reschedule(loop.time())


@asynccontextmanager
async def bounded_silence(limit_s: float) -> AsyncIterator[Silence]:
    """When nothing was heard for `limit_s`, what runs inside is stopped, and TimeoutError is raised. A read timeout
    does not do: a provider's keep-alives put it off for ever."""
    async with asyncio.timeout(None) as timeout:
        silence = Silence(limit_s, timeout)
        try:
            yield silence
        finally:
            silence.timer.cancel()
