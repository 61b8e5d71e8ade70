"""What a server writes to stderr: the end of it, in whole lines."""

import codecs

WORDS_CHARS = 8192
"""A longer line is left out whole."""


class Words:
    """The last WORDS_CHARS. No line without its beginning: what is left of a secret could not be filtered as one."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._in_long_line = False

    def add(self, piece: bytes) -> None:
        text = self._text + self._decoder.decode(piece)
        if self._in_long_line:
            _, end, text = text.partition("\n")
            self._in_long_line = not end
        if len(text) > WORDS_CHARS:
            is_cut = text[-WORDS_CHARS - 1] != "\n"
            text = text[-WORDS_CHARS:]
            if is_cut:
                _, end, text = text.partition("\n")
                self._in_long_line = not end
        self._text = text

    @property
    def text(self) -> str:
        return self._text.strip()

    @property
    def last_line(self) -> str:
        """It tells most, such as a traceback's."""
        return self.text.rpartition("\n")[2].strip()
