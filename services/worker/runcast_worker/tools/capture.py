"""What a running call streams: filtered, shown while it comes, kept as head and tail, and whole where it is long."""

import hashlib
from collections.abc import Callable
from typing import Literal

from runcast_worker.secrets.redaction import Redactor
from runcast_worker.tools.excerpt import excerpt, json_bytes, writable
from runcast_worker.tools.spill import Spill

Source = Literal["stdout", "stderr"]
SHOWN_CHARS = 128 * 1024
SHOWN_PIECES = 5000
"""Of a call's output at most this much is shown while it comes."""
PIECE_CHARS = 8192
END_CHARS = 32 * 1024
"""Head and tail are kept, this much each; all that is longer than both is written to the store as well."""
NOT_SHOWN = "\n… the rest is not shown while it comes\n"


class Capture:
    """The output of one call, of both its sources in the order they came.

    Each source is filtered by itself, since a secret may be split over its pieces; and both together once more for what
    is kept, where one may have begun on the one source and ended on the other."""

    def __init__(self, redactor: Callable[[], Redactor], spill: Spill) -> None:
        self._sources: dict[Source, Redactor] = {"stdout": redactor(), "stderr": redactor()}
        self._both, self._spill = redactor(), spill
        self._head = self._tail = ""
        self._kept = 0  # characters
        self._sha256 = hashlib.sha256()
        self._left = SHOWN_CHARS
        self._pieces = SHOWN_PIECES
        self._said = False  # that the rest is not shown
        self.size = 0
        """Bytes of the whole, as UTF-8."""
        self.cut = False
        """Somebody was given less than the whole."""

    async def feed(self, source: Source, text: str) -> list[str]:
        """What of it is to be shown now, in pieces."""
        return await self._take(self._sources[source].feed(writable(text)))

    async def end(self) -> list[tuple[Source, str]]:
        """The output is over: what was held back and is to be shown."""
        rest: list[tuple[Source, str]] = []
        for source, redactor in self._sources.items():
            rest += [(source, piece) for piece in await self._take(redactor.flush())]
        await self._keep(self._both.flush())
        return rest

    @property
    def long(self) -> bool:
        """Head and tail are not the whole."""
        return self._kept > 2 * END_CHARS

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def text(self, limit: int) -> str:
        """The whole, or its head and tail and how long it is, in at most `limit` bytes as JSON."""
        whole = self._head + self._tail
        if not self.long and len(whole) <= limit and json_bytes(whole) <= limit:
            return whole
        self.cut = True
        ends = (self._head, self._tail) if self.long else (whole, whole)
        return excerpt(*ends, f"{self.size} bytes in all; the middle is left out", limit)

    async def finish(self) -> str | None:
        """After `end`: where the whole is kept, if it could be."""
        if not self.long:
            await self._spill.write((self._head + self._tail).encode())
        return await self._spill.finish()

    async def _take(self, text: str) -> list[str]:
        if not text:
            return []
        await self._keep(self._both.feed(text))
        if self._said:
            return []
        # Said once text comes that has no room, not when the room is used up: that may have been all.
        shown = text[: self._left]
        pieces = [shown[at : at + PIECE_CHARS] for at in range(0, len(shown), PIECE_CHARS)][: self._pieces]
        self._left -= len(shown)
        self._pieces -= len(pieces)
        if sum(map(len, pieces)) < len(text):
            self._said = True
            pieces.append(NOT_SHOWN)
        return pieces

    async def _keep(self, text: str) -> None:
        if not text:
            return
        was_long, before = self.long, self._head + self._tail if not self.long else ""
        data = text.encode()
        self.size += len(data)
        self._sha256.update(data)
        self._kept += len(text)
        room = END_CHARS - len(self._head)
        self._head += text[:room]
        self._tail = (self._tail + text[room:])[-END_CHARS:]
        if was_long:
            await self._spill.write(data)
        elif self.long:
            await self._spill.write(before.encode() + data)
