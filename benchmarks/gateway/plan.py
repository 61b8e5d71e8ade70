"""What the load client is told of a session: where its stream is, and the bytes that publish an event to it.

Every system is sent the same payloads, which carry a stamp: the CLOCK_MONOTONIC of the moment it was written, the
number of the event in its session, and the session.
"""

import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stack import LOOPBACK
from benchmarks.writers import Writer
from runcast_events.codec import Envelope
from runcast_events.ids import DEFAULT_TENANT
from runcast_events.keys import Keyspace
from runcast_events.log import Hold

STAMP_BYTES = 35
FILL_S = 60.0
FILL_BATCH = 100
_STAMP = re.compile(rb"@[0-9]{16} [0-9]{10} [0-9]{6}")


def stamp(session: int, number: int = 0, at_us: int = 0) -> str:
    """Fixed width, so that the load client writes and reads it in place."""
    return f"@{at_us:016d} {number:010d} {session:06d}"


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """`head`, a sequence number as an argument of RESP, and `tail` publish an event; without a head it is `tail` alone.
    Both are empty where nothing is published."""

    path: str
    payload: bytes = b""
    head: bytes = b""
    tail: bytes = b""

    def encode(self) -> bytes:
        """As load/plan.h has it."""
        if not self.tail:
            return f"{self.path} 0 0 0 {len(self.payload)} {_stamp_at(self.payload)}\n".encode()
        numbers = len(self.head), len(self.tail), _stamp_at(self.tail), len(self.payload), _stamp_at(self.payload)
        return f"{self.path} {' '.join(map(str, numbers))}\n".encode() + self.head + self.tail

    def request(self, session: int, number: int, sequence: int) -> bytes:
        """The request for one event."""
        digits = str(sequence).encode()
        argument = b"$%d\r\n%b\r\n" % (len(digits), digits) if self.head else b""
        tail = _STAMP.sub(stamp(session, number, time.monotonic_ns() // 1000).encode(), self.tail, count=1)
        return self.head + argument + tail


def _stamp_at(text: bytes) -> int:
    found = _STAMP.search(text)
    return found.start() if found else 0


def payload(session: int) -> bytes:
    """What a peer is sent: byte for byte like our own events but for the ids."""
    session_id = session_name(session)
    task_id = f"{session_id}.aaaaaaaaaa"
    keys = Keyspace().session(DEFAULT_TENANT, session_id)
    writer = Writer(Hold(keys, task_id, "1:a", {}), Envelope(session_id, task_id, 1))
    return writer.output(stamp(session)).payload


def session_name(session: int) -> str:
    """All of one width, so that all requests and payloads are, too."""
    return f"s{session:05d}"


def posting(path: str, body: bytes) -> bytes:
    """An event in a POST."""
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body)


def write(plans: Sequence[SessionPlan], file: Path) -> None:
    file.write_bytes(b"".join(plan.encode() for plan in plans))


def fill(plan: SessionPlan, count: int, port: int, acknowledged: str, first_sequence: int) -> None:
    """Publish `count` events to session 0, as the load client does. Raises ConnectionError, TimeoutError."""
    with socket.create_connection((LOOPBACK, port), timeout=FILL_S) as connection:
        for first in range(0, count, FILL_BATCH):
            numbers = range(first, min(first + FILL_BATCH, count))
            connection.sendall(b"".join(plan.request(0, n + 1, first_sequence + n) for n in numbers))
            answers = b""
            while answers.count(acknowledged.encode()) < len(numbers):
                answers += (some := connection.recv(1 << 16))
                if not some:
                    raise ConnectionError(f"an event was not taken: {answers[-300:]!r}")
