"""Which events of a log a stream shows. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events a client is shown. Control frames are never hidden."""

    types: frozenset[str] | None = None
    task_id: str | None = None

    def shows(self, event_type: str, task_id: str) -> bool:
        if self.task_id is not None and task_id != self.task_id:
            return False
        return self.types is None or event_type in self.types

    @property
    def shows_all(self) -> bool:
        return self.types is None and self.task_id is None


EVERYTHING = Filter()
