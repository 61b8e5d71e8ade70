"""SSE for thousands of clients in one process: bytes in, blocks out; an event is parsed once for all of them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from runcast_events.ids import EventId
from tests.gateway.running import CONTROL
from tests.history import Seen


class Blocks:
    """Cuts one connection's bytes into blocks; what has not come whole waits for more."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._rest and self._rest[-1].endswith(b"\n"):  # an end of a block may be cut in two
            data = self._rest.pop() + data
        *whole, rest = data.split(b"\n\n")
        if whole:
            whole[0] = b"".join([*self._rest, whole[0]])
            self._rest.clear()
        if rest:
            self._rest.append(rest)
        yield from whole


@dataclass(frozen=True, slots=True)
class Control:
    """A frame that the gateway makes itself; also a block that has no more than a `retry:`, with the name empty."""

    name: str
    id: EventId | None
    retry_ms: int | None


@dataclass(slots=True)
class Frames:
    """What blocks say. Every client is shown the same bytes of an event, so they share what was read of them."""

    _events: dict[bytes, Seen] = field(default_factory=dict)

    def read(self, block: bytes) -> Seen | Control:
        return self._events.get(block) or self._parse(block)

    def _parse(self, block: bytes) -> Seen | Control:
        fields: dict[str, bytes] = {}
        for line in block.split(b"\n"):
            key, _, value = line.partition(b": ")
            if key and not line.startswith(b":"):
                fields[key.decode()] = value
        name = fields.get("event", b"").decode()
        position = EventId.parse(fields["id"].decode()) if "id" in fields else None
        if name == "" or (name in CONTROL and name != "gap"):
            return Control(name, position, int(fields["retry"]) if "retry" in fields else None)
        assert position is not None, f"an event or a gap without an id: {block[:200]!r}"
        if name == "gap":
            return Seen(position, gap=True)
        seen = self._events[block] = Seen(position, fields["data"])
        return seen
