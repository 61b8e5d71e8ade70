"""From a terminal's bytes to lines: what a person would have read on the screen, each line bounded. Pure."""

import codecs
import re
from collections.abc import Iterator

LINE_CHARS = 8192
"""A longer line is told at once with this much of it; the rest, up to its end, is left out."""
REDRAW_S = 1.0
"""A line that is drawn over and over, such as a progress bar, is told this often while it changes."""
STILL_S = 2.0
"""A line that does not change for so long without an end stands still: its program may have asked something."""
_PIECES = re.compile("[^\r\n]+|\r|\n")


class Lines:
    """Feed it what is read; it gives the lines that are complete, without their ends. Escape sequences stay; what is
    not UTF-8 is replaced; a line ends with LF, CR LF, or CR CR LF.

    A lone CR draws the line over. Its states are told at most every REDRAW_S, and the last one when the line ends."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""  # of the line since its beginning or its last lone CR
        self._drawn = ""  # the state before that
        self._returned = False  # the last character was a CR: what it means, the next one tells
        self._told_at = float("-inf")
        self._cut = False  # the rest of this line is left out
        self._fed_at = float("-inf")
        self._stood = ""  # what `standing` has told of this line

    def decode(self, data: bytes, *, final: bool = False) -> str:
        return self._decode.decode(data, final=final)

    def feed(self, text: str, now: float) -> Iterator[str]:
        """`now`: of a monotonic clock, in seconds."""
        if text:
            self._fed_at = now
        for piece in _PIECES.findall(text):
            if piece == "\n":
                yield from self._end()
            elif piece == "\r":
                self._returned = True
            else:
                if self._returned:
                    yield from self._redraw(now)
                yield from self._add(piece)

    def standing(self, now: float) -> str | None:
        """The line that stands still, once as long as it is the same. It is still given whole when it ends."""
        if self._cut or self._text in ("", self._stood) or now - self._fed_at < STILL_S:
            return None
        self._stood = self._text
        return self._text

    def flush(self) -> Iterator[str]:
        """The stream has ended: the line that has no end."""
        if self._text or self._drawn:
            yield from self._end()

    def _add(self, body: str) -> Iterator[str]:
        if self._cut:
            return
        self._text += body
        if len(self._text) > LINE_CHARS:
            yield f"{self._text[:LINE_CHARS]} … (the line is longer than {LINE_CHARS} characters; its rest is left out)"
            self._text = self._drawn = ""
            self._cut = True

    def _redraw(self, now: float) -> Iterator[str]:
        self._returned = False
        if self._cut:
            self._cut = False
        elif self._text and now - self._told_at >= REDRAW_S:
            yield self._text
            self._text = self._drawn = ""
            self._told_at = now
        elif self._text:
            self._drawn, self._text = self._text, ""

    def _end(self) -> Iterator[str]:
        if not self._cut:
            yield self._text or self._drawn
        self._text = self._drawn = self._stood = ""
        self._returned = self._cut = False
