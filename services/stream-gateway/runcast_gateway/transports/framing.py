"""How bytes of a stream lie on an HTTP/1.1 or HTTP/1.0 connection. Pure. https://www.rfc-editor.org/rfc/rfc9112#name-chunked-transfer-coding"""

from typing import Protocol


class Framing(Protocol):
    """`END`: what follows the last bytes of a stream that ended as it should."""

    END: bytes

    def frame(self, data: bytes, /) -> bytes: ...


class Chunked:
    """HTTP/1.1 without a length: a reader can tell an end from a cut."""

    END = b"0\r\n\r\n"

    @staticmethod
    def frame(data: bytes) -> bytes:
        return b"%x\r\n%b\r\n" % (len(data), data)


class Plain:
    """As it is: HTTP/1.0, where the stream ends with the connection, and whatever frames on its own."""

    END = b""

    @staticmethod
    def frame(data: bytes) -> bytes:
        return data


CHUNKED, PLAIN = Chunked(), Plain()
