"""A server of streams that gives every client the same bytes, right or wrong ones, in pieces of any size."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.gateway.plan import payload, stamp

LATE_S = 0.05
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def event(number: int, session: int = 0) -> bytes:
    """A frame of session 0's `number`th event; `session`: what its stamp says."""
    data = payload(0).replace(stamp(0).encode(), stamp(session, number).encode())
    return b"event: output\nid: 1-%d\ndata: %b\n\n" % (number, data)


def events(numbers: Sequence[int]) -> list[bytes]:
    return [event(number) for number in numbers]


def chunk(*frames: bytes) -> bytes:
    body = b"".join(frames)
    return b"%x\r\n%b\r\n" % (len(body), body)


@contextmanager
def serving(answer: bytes, piece: int = 1 << 16, *, late: bytes = b"", hang_up: bool = False) -> Iterator[int]:
    """Yields the port. `piece`: bytes of a send. `late`: follows LATE_S after the answer. `hang_up`: the connection is
    closed then."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, answer, piece, late, hang_up), daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, answer: bytes, piece: int, late: bytes, hang_up: bool) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection, answer, piece, late, hang_up), daemon=True).start()


def _answer(connection: socket.socket, answer: bytes, piece: int, late: bytes, hang_up: bool) -> None:
    with connection:
        connection.settimeout(10)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.recv(1 << 16)
        try:
            for at in range(0, len(answer), piece):
                connection.sendall(answer[at : at + piece])
            time.sleep(LATE_S if late else 0)
            connection.sendall(late)
            if not hang_up:
                connection.recv(1)  # until the client goes
        except OSError:
            return
