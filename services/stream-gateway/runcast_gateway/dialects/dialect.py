"""What frames look like to a client: the vocabulary of a stream. Pure; a module each."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from runcast_events.entry import RawEntry
from runcast_events.ids import EventId


class Dialect(Protocol):
    """`NAME`: as metrics show it. `HEARTBEAT`: bytes that mean nothing and keep the line alive; none where that is
    somebody else's to do."""

    NAME: str
    HEARTBEAT: bytes

    def events(self, entries: Iterable[RawEntry], /) -> list[bytes]:
        """A frame for each of these events of the log."""
        ...

    def control(
        self, name: str, data: Mapping[str, object], position: EventId | None = None, retry_ms: int | None = None, /
    ) -> bytes:
        """A frame that the gateway makes itself. `position`: where the client's cursor then stands."""
        ...
